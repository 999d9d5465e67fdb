-- Claim the wait at the first of several scopes that has a live one, or an empty scope. The scopes are all
-- scopes of the first owner, then all of the second one, and so on. Nearly always there is one owner.
--
-- KEYS     the scope keys; as many claim keys; as many queue keys; as many delivery keys, or none
-- ARGV[3]  the token of the claim
-- ARGV[4]  a fresh stamp, for a wait that a Rust process wrote
-- ARGV[5]  the lease in milliseconds
-- ARGV[6]  the number of the scope to claim if no wait is live, or empty
-- ARGV[7]  the channel on which to wake the caller when its turn comes, or empty if it does not wait
-- ARGV[8]  how many scopes there are for each owner
-- ARGV[9]  and so on: the hashes of these scopes, and then the owners
-- returns  {MISSING}, {DUPLICATE}, {CLAIMED}, {UNREADABLE, the key}, {QUEUED, the number of the scope,
--          the milliseconds left of the claim there, negative if none is held}, or {DONE, the number of
--          the scope, when the lease ends in milliseconds since the epoch}, followed by the items of a
--          record (see sessions.lua) unless the scope is empty

local token, lease, hashes = ARGV[3], ARGV[5], tonumber(ARGV[8])
local count = hashes * (#ARGV - 8 - hashes)

local function owner_at(index) return ARGV[9 + hashes + math.floor((index - 1) / hashes)] end
local function hash_at(index) return ARGV[9 + (index - 1) % hashes] end

-- The common case: no delivery is remembered, no claim is held, nobody waits, and the first scope with a
-- route leads to a session that is as we wrote it. A claim key of the wrong type counts as held, because SET
-- with NX does not replace it. Lua cannot unpack 8000 keys, and a call for several users may have that many.
local is_free = #KEYS <= 1000
local found = is_free and redis.call('MGET', unpack(KEYS))
for index = count + 1, is_free and #KEYS or 0 do
  if found[index] then is_free = false end
end
if is_free then
  local index = 1
  while not found[index] and index < count do index = index + 1 end
  local key = found[index]
  if key then
    local session_name = ARGV[1] .. ':session:' .. key
    local meta = redis.pcall(
      'HMGET', ARGV[1] .. ':meta:' .. key, 'owner', 'scope', 'wait', 'stamp', 'place', 'adopted', 'kept'
    )
    local stamp = not meta[6] and meta[1] == owner_at(index) and meta[2] == hash_at(index) and meta[4]
    local document = stamp and redis.pcall('GET', session_name)
    if type(document) == 'string' and string.sub(document, -32) == stamp
      and #document <= ARGV[2] + #stamp then
      local ends, claim, wait = redis.pcall('PEXPIRETIME', session_name), KEYS[count + index], meta[3]
      if meta[7] and string.sub(meta[7], 1, 32) == wait then wait = wait .. 'kept' end
      if type(ends) == 'number' -- Redis 6.2 lacks that command, and takes the slow path below
        and redis.call('SET', claim, token .. wait, 'PX', lease, 'NX') then
        local lease_end = redis.call('PEXPIRETIME', claim)
        return {'DONE', index, lease_end, key, document, math.min(ends, 2 ^ 53), meta[1], meta[5]}
      end
    end
  elseif ARGV[6] == '' then
    return {'MISSING'}
  end
end

-- include mending.lua
-- include queues.lua

local fresh, begin, channel = ARGV[4], tonumber(ARGV[6]), ARGV[7]
local own, ticket -- the number of the scope where the token has its place, and its ticket

local function claim_at(index) return KEYS[count + index] end
local function queue_at(index) return KEYS[2 * count + index] end

for index = 1, count do
  if has_place(queue_at(index), token) then
    own, ticket = index, read_place(queue_at(index), token)
  end
end

-- Give up the place. The callers behind it may have to follow the wait to another scope.
local function leave_queue()
  if own then
    leave(queue_at(own), token)
    wake_first(queue_at(own))
  end
end

local function refuse(...)
  leave_queue()
  return {...}
end

local function wait_at(index)
  if channel == '' then return refuse('CLAIMED') end
  keep_place(queue_at(index), token, ticket, channel)
  if own ~= index then leave_queue() end
  return {'QUEUED', index, redis.call('PTTL', claim_at(index))}
end

local function grant(index, wait, found)
  redis.call('SET', claim_at(index), token .. wait, 'PX', lease)
  if own == index then
    leave(queue_at(own), token) -- the scope is claimed now, so nobody there is due
  else
    leave_queue()
  end
  return {'DONE', index, expiry(claim_at(index)), unpack(found)}
end

-- Return what a claim key holds after the token, for the wait at a scope (see claims.lua).
local function identity(key, session, owner, scope)
  if is_only_at_its_scope(session) then return session.wait .. (session.kept and KEPT or '') end
  if not session.ours then
    adopt(key, session, owner, scope, 'claim', fresh)
    return fresh .. ADOPTED
  end
  redis.call('HSET', meta_key(key), 'scope', scope)
  -- The touch that adopted the session may not have known this scope key.
  if session.adopted == 'touch' then follow_deadline(scope_key(owner, scope), key) end
  return session.wait .. ADOPTED
end

for index = 3 * count + 1, #KEYS do
  if redis.call('EXISTS', KEYS[index]) == 1 then return refuse('DUPLICATE') end
end

-- If it is another caller's turn, its wait may be at any of the scopes by now, and it may claim any of them.
for index = 1, count do
  if is_behind(queue_at(index), token, ticket) and redis.call('EXISTS', claim_at(index)) == 0 then
    return wait_at(index)
  end
end

for index = 1, count do
  if is_behind(queue_at(index), token, ticket) then return wait_at(index) end
  local owner, scope = owner_at(index), hash_at(index)
  local key, session = waiting(owner, scope)
  if key then
    if redis.call('EXISTS', claim_at(index)) == 1 then return wait_at(index) end
    if not session.readable then return refuse('UNREADABLE', key) end
    local wait = identity(key, session, owner, scope)
    return grant(index, wait, record(key, session, scope_key(owner, scope)))
  end
end

if not begin then return refuse('MISSING') end
for index = 1, count do
  if redis.call('EXISTS', claim_at(index)) == 1 then return wait_at(index) end
end
return grant(begin, '', {})
