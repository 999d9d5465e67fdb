-- Compute the deadline of a session that is registered now. This repeats clock.lua without functions, because
-- the common case of a registration needs no others (see names.lua).
--
-- needs    ttl: its time to live in milliseconds; empty or nil for none
-- sets     deadline: in milliseconds since the epoch, or nil; expires: the same as arguments of SET

local deadline, expires = nil, {}
if ttl and ttl ~= '' then
  local time = redis.call('TIME')
  deadline = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ttl)
  expires = {'PXAT', deadline}
end
