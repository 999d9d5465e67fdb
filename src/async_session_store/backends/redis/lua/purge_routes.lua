-- Drop scope keys and meta keys whose session is gone.
--
-- KEYS     the keys to look at
-- ARGV[3]  how many to drop at most
-- returns  how many were dropped

-- include names.lua

local meta_prefix = namespace .. ':meta:'
local dropped = 0
for _, route in ipairs(KEYS) do
  if dropped == tonumber(ARGV[3]) then break end
  local key
  if string.sub(route, 1, #meta_prefix) == meta_prefix then
    key = string.sub(route, #meta_prefix + 1)
  else
    key = redis.pcall('GET', route)
  end
  if type(key) == 'string' and redis.call('EXISTS', session_key(key)) == 0 then
    dropped = dropped + redis.call('DEL', route)
  end
end
return dropped
