-- Return the key of the session that waits at the first of several scopes that has one.
--
-- KEYS     the scope keys
-- ARGV[3]  the owner
-- ARGV[4]  and so on: the hashes of the scopes
-- returns  the key, or nothing

-- The common case: a single scope, which has no route, or a route to a session that is as we wrote it.
if #KEYS == 1 then
  local key = redis.call('GET', KEYS[1])
  if not key then return false end
  -- include written.lua
  if as_we_wrote and known_owner == ARGV[3] and known_scope == ARGV[4] then return key end
end

-- include sessions.lua

for index = 4, #ARGV do
  local key = waiting(ARGV[3], ARGV[index])
  if key then return key end
end
return false
