-- Drop members of an owner's set of waits whose session is gone or belongs to another owner by now: one step
-- of a scan.
--
-- KEYS[1]  the set
-- ARGV[3]  the largest number of members to drop
-- ARGV[4]  the cursor of the scan
-- ARGV[5]  the approximate number of members to scan
-- returns  {the next cursor, how many were dropped}, or nothing if the key is not a set

local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {'0', 0} end -- it was deleted since it was found
if kind ~= 'set' then return false end
local owner = string.sub(KEYS[1], #(ARGV[1] .. ':waits:user:') + 1)
local reply = redis.call('SSCAN', KEYS[1], ARGV[4], 'COUNT', ARGV[5])
local dropped = 0
for _, key in ipairs(reply[2]) do
  if dropped == tonumber(ARGV[3]) then break end
  -- include written.lua
  if as_we_wrote and known_owner ~= owner or redis.call('EXISTS', session_name) == 0 then
    dropped = dropped + redis.call('SREM', KEYS[1], key)
  end
end
return {reply[1], dropped}
