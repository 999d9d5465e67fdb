-- Give a session another owner, another scope, or both, if it is as it was read.
--
-- KEYS[1]  its session key
-- ARGV[3]  its key
-- ARGV[4]  its owner as it was read
-- ARGV[5]  the hash of the scope where it waited as it was read, or empty for nowhere
-- ARGV[6]  its stamp or its SHA-1 as it was read
-- ARGV[7]  the new owner
-- ARGV[8]  the hash of the new scope, or empty for nowhere
-- ARGV[9]  the new scope as JSON, or empty if only its hash is known
-- ARGV[10] the new document
-- ARGV[11] the stamp that it ends in
-- returns  DONE, MISSING, CHANGED, CLAIMED or TAKEN

-- include kept_waits.lua
-- include queues.lua
-- include etags.lua

local key, owner, scope, expected = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local new_owner, new_scope, place, document, stamp = ARGV[7], ARGV[8], ARGV[9], ARGV[10], ARGV[11]

local function is_held(whose, at) return redis.call('EXISTS', claim_key(whose, at)) == 1 end

-- Return whether a claim is held at the old scope, or a caller waits for its turn there.
local function is_in_use()
  return is_held(owner, scope) or first_in(namespace .. ':queue:' .. owner .. ':' .. scope) ~= nil
end

-- Record where the wait is from now on. `wait` is its identity.
local function record_place(wait)
  redis.call(
    'HSET', meta_key(key), 'owner', new_owner, 'scope', new_scope, 'wait', wait, 'stamp', stamp
  )
  if place ~= '' then
    redis.call('HSET', meta_key(key), 'place', place)
  else
    redis.call('HDEL', meta_key(key), 'place')
  end
end

-- Return whether the session still waits where it did, or still waits nowhere.
local function is_at_its_place(session)
  if scope ~= '' then return waiting(owner, scope) == key end
  if is_only_at_its_scope(session) then return not route_to(key, session) end
  return redis.pcall('SISMEMBER', user_key(owner), key) == 0
end

local function move_expired(old)
  local copy = redis.call('HMGET', meta_key(key), 'copy')[1]
  if old.known ~= owner or old.scope ~= scope or not copy then return 'CHANGED' end
  if string.sub(copy, -STAMP_LENGTH) ~= expected then return 'CHANGED' end
  if is_in_use() then return 'CLAIMED' end
  local tenancy, user = tenancy_and_user(owner)
  local due = redis.pcall('ZSCORE', expiring_key(tenancy), user .. ':' .. key)
  redis.call('HSET', meta_key(key), 'copy', document)
  record_place(old.wait)
  delist(key, owner)
  redis.pcall('SREM', user_key(owner), key) -- it may have stayed there after the deadline
  if type(due) == 'string' then enlist(key, new_owner, due, expiry(meta_key(key))) end
  return 'DONE'
end

-- Store the new document. Its deadline stays, also if a Rust process has dropped it and only the scope key
-- still has it.
local function store(session, route)
  local ends = wait_end(key, session, route)
  redis.call('SET', session_key(key), document, 'KEEPTTL')
  if ends >= 0 and redis.call('PTTL', session_key(key)) == -1 then
    redis.call('PEXPIREAT', session_key(key), string.format('%.0f', ends))
  end
  unroute(key, session)
  if route and redis.pcall('GET', route) == key then redis.call('DEL', route) end
  return ends >= 0 and string.format('%.0f', ends) or nil
end

local function move_wait(session)
  if is_in_use() then return 'CLAIMED' end
  if waiting(new_owner, new_scope) then return 'TAKEN' end
  if is_held(new_owner, new_scope) then return 'CLAIMED' end
  local is_kept = session.ours and session.kept
  local wait = session.ours and session.wait or stamp
  local ends = store(session, scope_key(owner, scope))
  redis.call('SET', scope_key(new_owner, new_scope), key)
  record_place(wait)
  if is_kept then
    keep(key, new_owner, wait, document, ends, session.kept)
  elseif ends then
    redis.call('PEXPIREAT', meta_key(key), ends)
  end
  if ends then redis.call('PEXPIREAT', scope_key(new_owner, new_scope), ends) end
  redis.pcall('SADD', user_key(new_owner), key)
  return 'DONE'
end

local session = read(key)
if not session then
  local old = known(key)
  return old.kept and has_passed(key, old) and move_expired(old) or 'MISSING'
end
if session.owner ~= owner or not session.readable then return 'CHANGED' end
if not is_etag(key, session, expected) or not is_at_its_place(session) then return 'CHANGED' end
if scope ~= '' then return move_wait(session) end
store(session)
if session.ours then
  -- This meta key shows that the session is of this namespace: see nested.lua.
  record_place(session.wait or stamp)
  follow_deadline(meta_key(key), key)
end
return 'DONE'
