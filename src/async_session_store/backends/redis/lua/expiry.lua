-- When a key expires, in milliseconds since the epoch, or -1.

-- include clock.lua

local LATEST = 2 ^ 53 -- a number is exact up to here; a Rust process may set a later deadline

-- Redis 6.2 has no PEXPIRETIME: ask for the time left and the time, and again if the clock ticked in
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
