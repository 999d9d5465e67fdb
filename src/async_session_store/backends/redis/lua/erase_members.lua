-- Erase the sessions in one of a user's sets, and the members of the set: one step of a scan.
--
-- KEYS[1]  the set
-- ARGV[3]  and ARGV[4]: see erasing.lua
-- ARGV[5]  the cursor of the scan
-- ARGV[6]  the approximate number of members to scan
-- returns  {the next cursor, and the numbers of erase_sessions.lua}

-- include erasing.lua

if redis.call('TYPE', KEYS[1]).ok ~= 'set' then
  redis.call('DEL', KEYS[1])
  return {'0', 0, 0, 0}
end
local reply = redis.call('SSCAN', KEYS[1], ARGV[5], 'COUNT', ARGV[6])
for _, key in ipairs(reply[2]) do
  erase(key)
  redis.call('SREM', KEYS[1], key)
end
return {reply[1], waits, sessions, expired_waits}
