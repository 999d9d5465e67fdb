-- The server's clock, in milliseconds since the epoch.

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Return the deadline for a time to live that starts now, or nil if it is empty.
local function deadline_after(ttl)
  return ttl ~= '' and string.format('%.0f', now() + ttl) or nil
end
