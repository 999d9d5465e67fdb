-- Return the session that waits at the first of several scopes that has one.
--
-- KEYS     the scope keys
-- ARGV[3]  the owner
-- ARGV[4]  and so on: the hashes of the scopes
-- returns  a record (see sessions.lua), or nothing

-- include sessions.lua

for index = 4, #ARGV do
  local key, session = waiting(ARGV[3], ARGV[index])
  if key then return record(key, session, scope_key(ARGV[3], ARGV[index])) end
end
return false
