-- When a session that is registered now expires. No functions (see names.lua).
--
-- needs    ttl: its time to live in milliseconds, or nothing or nil for none
-- sets     deadline: in milliseconds since the epoch, or nil; expires: the same for SET

local deadline, expires = nil, {}
if ttl and ttl ~= '' then
  local time = redis.call('TIME')
  deadline = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ttl)
  expires = {'PXAT', deadline}
end
