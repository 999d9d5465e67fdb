-- Return until when some deliveries are remembered.
--
-- KEYS     delivery keys
-- returns  for each of them the time in milliseconds since the epoch, or -1 if it is not remembered

-- include expiry.lua

-- A session key of a nested namespace may look like a delivery key. No document is this short.
local function is_delivery(name)
  return redis.pcall('STRLEN', name) == 1 and redis.call('GET', name) == '1'
end

local found = {}
for index, name in ipairs(KEYS) do found[index] = is_delivery(name) and expiry(name) or -1 end
return found
