-- Drop members of an owner's set of waits whose session is gone.
--
-- KEYS[1]  the set
-- ARGV[3]  how many to drop at most
-- ARGV[4]  and so on: the members to look at
-- returns  how many were dropped

-- include names.lua

local dropped = 0
for index = 4, #ARGV do
  if dropped == tonumber(ARGV[3]) then break end
  if redis.call('EXISTS', session_key(ARGV[index])) == 0 then
    dropped = dropped + redis.call('SREM', KEYS[1], ARGV[index])
  end
end
return dropped
