-- Return when a key expires, in milliseconds since the epoch, or -1 if it does not.

-- include clock.lua

local LATEST = 2 ^ 53 -- numbers are exact up to here; a Rust process may set a later deadline

-- Redis 6.2 has no PEXPIRETIME. There, add the time left to the clock, and repeat that if the clock ticks in
-- between.
local function expiry(key)
  local exact = redis.pcall('PEXPIRETIME', key)
  if type(exact) == 'number' then return math.min(exact, LATEST) end
  while true do
    local before, left = now(), redis.call('PTTL', key)
    if left < 0 then return -1 end
    if now() == before then return math.min(before + left, LATEST) end
  end
end
