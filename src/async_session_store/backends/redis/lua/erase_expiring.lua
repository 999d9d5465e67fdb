-- Drop a user's entries of an index of due times (see expiring.lua): one step of a scan.
--
-- KEYS[1]  the index key of a team, a sorted set
-- ARGV[3]  the user
-- ARGV[4]  the cursor of the scan
-- ARGV[5]  the approximate number of entries to scan
-- returns  the next cursor

-- include expiring.lua

if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then return '0' end
local reply = redis.call('ZSCAN', KEYS[1], ARGV[4], 'MATCH', ARGV[3] .. ':*', 'COUNT', ARGV[5])
for index = 1, #reply[2], 2 do redis.call('ZREM', KEYS[1], reply[2][index]) end -- each has a score
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.pcall('ZREM', expiring_key('all'), string.sub(KEYS[1], #expiring_key('') + 1))
end
return reply[1]
