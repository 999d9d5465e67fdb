-- Return until when some deliveries are remembered.
--
-- KEYS     delivery keys
-- returns  for each of them the time in milliseconds since the epoch, or -1 if it is not remembered

-- include expiry.lua

local found = {}
for index, name in ipairs(KEYS) do found[index] = expiry(name) end
return found
