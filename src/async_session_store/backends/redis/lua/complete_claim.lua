-- End a claim, remember its deliveries, and remove, keep or replace the claimed wait.
--
-- KEYS[1]  the claim key
-- KEYS[2]  the scope key
-- KEYS[3]  the queue key
-- KEYS[4]  the owner's set of waits
-- KEYS[5]  and so on: the delivery keys, if any
-- ARGV[3]  the owner
-- ARGV[4]  the hash of the scope
-- ARGV[5]  the token of the claim
-- ARGV[6]  for how many milliseconds to remember the deliveries, or empty
-- ARGV[7]  the key of the claimed session, or empty
-- ARGV[8]  END to remove the session, KEEP to leave it, or NEXT to register the next wait
-- ARGV[9]  and so on, for NEXT, as for put_wait.lua: the document, the stamp, the time to live, the scope
--          as JSON, for how long the wait is kept; then, unless they are those of the claim: the key, the
--          owner, the hash of the scope. For KEEP: EXPIRED if the claim is on an expired wait, or empty
-- returns  DONE; MISSING if the claim is superseded, or nothing is there to remove or keep; LOST; FOREIGN
--          or UNREADABLE, with nothing changed, if the next wait may not be registered

local found = redis.call('MGET', KEYS[1], KEYS[2], KEYS[3])
local claim, key, queue, token = found[1], found[2], found[3], ARGV[5]
if not claim or string.sub(claim, 1, #token) ~= token then return 'LOST' end

local wait = string.sub(claim, #token + 1) -- see claims.lua
local owner, scope, follows, outcome = ARGV[3], ARGV[4], ARGV[8], nil
local document, stamp, ttl, place, expired_ttl = ARGV[9], ARGV[10], ARGV[11], ARGV[12], ARGV[13]

-- The common case: the wait is as it was registered, so its document still ends in its identity (an update
-- gives the document another stamp), and no wait follows, or one under the same key. The deadlines of the
-- three keys may be set relative to now: that of the document decides, and it is set first.
if key == ARGV[7] and not ARGV[14] then
  local session_name, meta_name = ARGV[1] .. ':session:' .. key, ARGV[1] .. ':meta:' .. key
  local identity, word = string.sub(wait, 1, 32), string.sub(wait, 33)
  if #identity == 32 and (word == '' or word == 'kept')
    and redis.pcall('GETRANGE', session_name, '-32', '-1') == identity then
    if follows ~= 'NEXT' then
      outcome = 'DONE'
    elseif type(redis.pcall( -- the first write, since it fails if the key is not a hash
      'HSET', meta_name, 'owner', owner, 'scope', scope, 'wait', stamp, 'stamp', stamp, 'place', place
    )) == 'number' then
      outcome = 'DONE'
      if ttl == '' then
        redis.call('SET', session_name, document)
        redis.call('PERSIST', KEYS[2])
        redis.call('PERSIST', meta_name)
      else
        redis.call('SET', session_name, document, 'PX', ttl)
        redis.call('PEXPIRE', KEYS[2], ttl)
        if expired_ttl == '' then redis.call('PEXPIRE', meta_name, ttl) end -- see listing.lua
      end
    end
    if outcome and (follows == 'NEXT' and expired_ttl ~= '' or word == 'kept' and follows ~= 'KEEP') then
      -- include expiry.lua
      -- include expiring.lua
      if follows == 'NEXT' and expired_ttl ~= '' then
        keep(key, owner, stamp, document, ttl ~= '' and expiry(session_name) or nil, expired_ttl)
      elseif follows == 'NEXT' then
        redis.call('HDEL', meta_name, 'kept', 'copy')
      end
      local will_be_due = follows == 'NEXT' and expired_ttl ~= '' and ttl ~= ''
      if word == 'kept' and not will_be_due then delist(key, owner) end
    end
  end
  if outcome then
    -- Redis shares small numbers, so this value takes no memory.
    for index = 5, #KEYS do redis.call('SET', KEYS[index], '1', 'PX', ARGV[6]) end
    if follows == 'END' then
      redis.pcall('SREM', KEYS[4], key)
      redis.call('DEL', session_name, meta_name, KEYS[2], KEYS[1])
    else
      redis.call('DEL', KEYS[1])
    end
  end
end

if not outcome then
  local next_key, next_owner, next_scope = ARGV[14] or ARGV[7], ARGV[15] or owner, ARGV[16] or scope
  local is_here = next_scope == scope and next_owner == owner
  local session_name, meta_name, set_name, others, remove
  if follows == 'NEXT' then
    session_name, meta_name = ARGV[1] .. ':session:' .. next_key, ARGV[1] .. ':meta:' .. next_key
    set_name = ARGV[1] .. ':waits:user:' .. next_owner
    others = redis.call('SRANDMEMBER', set_name, '32') -- as in put_wait.lua
  end
  -- include deadline.lua

  -- The common case: the scope was and is empty, the key is unknown, and a flow begins.
  if follows == 'NEXT' and wait == '' and is_here
    and redis.call('EXISTS', KEYS[2], session_name, meta_name) == 0 then
    redis.call('SET', session_name, document, unpack(expires))
    redis.call('SET', KEYS[2], next_key, unpack(expires))
    outcome = 'DONE'
  else
    -- include registering.lua
    local session
    key, session = waiting(owner, scope)
    local is_superseded = string.find(wait, SUPERSEDED, 1, true)
    local is_kept = string.sub(wait, STAMP_LENGTH + 1, STAMP_LENGTH + #KEPT) == KEPT
    wait = string.sub(wait, 1, STAMP_LENGTH)
    local is_as_claimed, has_expired
    if key then
      is_as_claimed = not is_superseded and session.ours and session.wait == wait
    else
      is_as_claimed = wait == ''
      has_expired = not is_superseded and (wait == '' or not read(ARGV[7]))
    end
    outcome = (is_as_claimed or follows == 'NEXT' and has_expired) and 'DONE' or 'MISSING'
    local kept, is_expired -- the claimed wait if it is kept for a worker, and whether it has expired
    if is_kept then
      -- include kept_waits.lua
      kept = kept_of(ARGV[7], owner, scope)
      if kept and kept.wait ~= wait then kept = nil end
      is_expired = kept and has_passed(ARGV[7], kept)
      if is_expired and follows ~= 'NEXT' then outcome = 'DONE' end
    end

    if follows == 'NEXT' then
      local before = read(next_key)
      local refused = refusal(before, next_owner)
      if refused then return refused end
      if outcome == 'DONE' then
        local holder, held = waiting(next_owner, next_scope)
        local old, route = before or known(next_key), scope_key(next_owner, next_scope)
        store_and_route(next_key, document, route, old, expires)
        if not is_here then supersede(claim_key(next_owner, next_scope)) end
        if key and key ~= next_key then clear(key, session, owner) end
        if key and not is_here then redis.call('DEL', KEYS[2]) end
        if holder and holder ~= next_key and holder ~= key then detach(holder, held, next_owner) end
      end
    end
    -- Removing comes last: a server that is out of memory refuses other commands, such as SET for the
    -- delivery, and then nothing may have been done.
    if follows == 'END' and key and is_as_claimed then
      remove = function()
        clear(key, session, owner)
        redis.call('DEL', KEYS[2])
      end
    elseif kept then
      -- include kept_waits.lua
      local is_registered_again = follows == 'NEXT' and outcome == 'DONE' and next_key == ARGV[7]
      remove = function()
        redis.call('DEL', token_key(token))
        if is_expired and ARGV[9] == 'EXPIRED' then
          give_back(ARGV[7], owner, now())
        elseif follows ~= 'KEEP' and not is_registered_again then
          -- Even if a Rust process has removed, rewritten or displaced the session: the reply was handled.
          end_kept(ARGV[7], kept)
        end
      end
    end
  end

  if follows == 'NEXT' and outcome == 'DONE' then
    local key, owner, scope = next_key, next_owner, next_scope
    -- include listing.lua
  end
  for index = 5, #KEYS do redis.call('SET', KEYS[index], '1', 'PX', ARGV[6]) end
  if remove then remove() end
  redis.call('DEL', KEYS[1])
end

if queue then
  -- include queues.lua
  wake_first(KEYS[3])
end
return outcome
