-- Times of the server, in milliseconds.

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The deadline that a time to live gives; nil if it is empty.
local function deadline_after(ttl)
  return ttl ~= '' and string.format('%.0f', now() + ttl) or nil
end
