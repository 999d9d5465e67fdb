-- End a claim, remember its delivery, and remove the wait if it is the very one that was claimed.
--
-- KEYS[1]  the claim key
-- ARGV[3]  the owner
-- ARGV[4]  the hash of the scope
-- ARGV[5]  the token of the claim
-- ARGV[6]  the digest of the delivery, or nothing
-- ARGV[7]  for how many milliseconds to remember it
-- returns  DONE, MISSING if something else waits there or nothing, or LOST

-- include mending.lua

local owner, scope, token, digest = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local claim = redis.call('HMGET', KEYS[1], 'token', 'wait')
if claim[1] ~= token then return 'LOST' end
local key, session = waiting(owner, scope)

if digest ~= '' then
  -- The server shares small numbers, so this value takes no memory.
  redis.call('SET', delivery_key(owner, digest), '1', 'PXAT', deadline_after(ARGV[7]))
end
redis.call('DEL', KEYS[1])
if not key or not session.ours or session.wait ~= claim[2] then return 'MISSING' end
clear(key, session, owner)
redis.call('DEL', scope_key(owner, scope))
return 'DONE'
