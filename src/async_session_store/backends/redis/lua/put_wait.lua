-- Store a session and route a scope to it.
--
-- KEYS[1]  its session key
-- KEYS[2]  the scope key
-- KEYS[3]  its meta key
-- KEYS[4]  the owner's set of waits
-- KEYS[5]  the claim key of the scope
-- ARGV[3]  its key
-- ARGV[4]  the owner of the document and of the wait
-- ARGV[5]  the hash of the scope
-- ARGV[6]  the document
-- ARGV[7]  the stamp that it ends in, which is also the identity of the wait
-- ARGV[8]  the time to live in milliseconds, or empty for no deadline
-- ARGV[9]  the scope as JSON
-- ARGV[10] 1 to register only if no live wait is at the scope
-- ARGV[11] for how many milliseconds the wait is kept for a worker after its deadline, or empty
-- returns  {DONE, FOREIGN, UNREADABLE or TAKEN; the key of the session it displaced, or nothing}

local key, owner, scope, document, stamp = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local ttl, place, session_name, meta_name, set_name = ARGV[8], ARGV[9], KEYS[1], KEYS[3], KEYS[4]
local expired_ttl, detached = ARGV[11], false

-- include deadline.lua

-- A few members of the set, of which listing.lua drops those whose session is gone. This comes before the
-- first write, since it fails if the key is not a set.
local others = redis.call('SRANDMEMBER', set_name, '32')

-- The common case: the key is unknown, nothing waits at the scope, and no claim is held there.
if redis.call('EXISTS', KEYS[1], KEYS[2], KEYS[3], KEYS[5]) == 0 then
  redis.call('SET', session_name, document, unpack(expires))
  redis.call('SET', KEYS[2], key, unpack(expires))
else
  -- include registering.lua
  local before = read(key)
  local refused = refusal(before, owner)
  if refused then return {refused, false} end
  local holder, held = waiting(owner, scope)
  if holder and ARGV[10] == '1' then return {'TAKEN', false} end
  local old = before or known(key)

  store_and_route(key, document, KEYS[2], old, expires)
  supersede(KEYS[5])
  if holder and holder ~= key then
    detached = holder
    detach(holder, held, owner)
  end
end

-- include listing.lua
return {'DONE', detached}
