-- Remove the wait at a scope and its session.
--
-- KEYS[1]  the scope key
-- ARGV[3]  the owner
-- ARGV[4]  the hash of the scope
-- ARGV[5]  only if this session waits there, or nothing
-- returns  1 if there was a live wait, else 0

local owner, scope, expected = ARGV[3], ARGV[4], ARGV[5]
local key, session = waiting(owner, scope)
if not key or (expected ~= '' and expected ~= key) then return 0 end
clear(key, session, owner)
redis.call('DEL', scope_key(owner, scope))
return 1
