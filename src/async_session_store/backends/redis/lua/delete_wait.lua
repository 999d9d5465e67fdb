-- Remove the wait at a scope and its session.
--
-- KEYS[1]  the scope key
-- ARGV[3]  the owner
-- ARGV[4]  the hash of the scope
-- ARGV[5]  only if this session waits there, or nothing
-- returns  1 if there was a live wait, else 0

-- include names.lua

local owner, scope, expected = ARGV[3], ARGV[4], ARGV[5]

-- Mostly the scope routes nowhere, or to a session that is as we wrote it.
local target = redis.call('GET', KEYS[1])
if not target then return 0 end
local written = as_we_wrote(target)
if written and written.known == owner and written.scope == scope
  and (expected == '' or expected == target) then
  redis.call('SREM', user_key(owner), target)
  redis.call('DEL', session_key(target), meta_key(target), KEYS[1])
  return 1
end

-- include sessions.lua

local key, session = waiting(owner, scope)
if not key or (expected ~= '' and expected ~= key) then return 0 end
clear(key, session, owner)
redis.call('DEL', scope_key(owner, scope))
return 1
