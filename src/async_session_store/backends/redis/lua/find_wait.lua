-- The key of the session that waits at the first of several scopes where one does.
--
-- KEYS     the scope keys
-- ARGV[3]  the owner
-- ARGV[4]  and so on: the hashes of the scopes
-- returns  the key, or nothing

for index = 4, #ARGV do
  local key = waiting(ARGV[3], ARGV[index])
  if key then return key end
end
return false
