-- Drop members of an owner's set of waits whose session is gone, or is another owner's by now: one step
-- of a scan.
--
-- KEYS[1]  the set
-- ARGV[3]  how many to drop at most
-- ARGV[4]  the cursor of the scan
-- ARGV[5]  how many members to look at, roughly
-- returns  {the next cursor, how many were dropped}, or nothing if it is no set

local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {'0', 0} end -- it is gone since it was found
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
