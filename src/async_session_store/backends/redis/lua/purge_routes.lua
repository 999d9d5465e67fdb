-- Drop scope keys and meta keys whose session is gone, except meta keys that keep an expired wait.
--
-- KEYS     the keys to check
-- ARGV[3]  the largest number of keys to drop
-- returns  {how many were dropped, {those of the wrong type, ...}}

-- include sessions.lua

local meta_prefix = meta_key('')
local dropped, skipped = 0, {}

-- Return the key of the session that a key leads to, or nil if it has the wrong type.
local function target(route)
  local is_meta = string.sub(route, 1, #meta_prefix) == meta_prefix
  local kind = redis.call('TYPE', route).ok
  if is_meta and kind == 'hash' then return string.sub(route, #meta_prefix + 1) end
  return not is_meta and kind == 'string' and redis.call('GET', route) or nil
end

-- Return whether a key is a meta key that keeps an expired wait (see expiring.lua). Such a key has a deadline.
local function keeps(route)
  if string.sub(route, 1, #meta_prefix) ~= meta_prefix or redis.call('PTTL', route) < 0 then return false end
  local meta = redis.call('HMGET', route, 'owner', 'wait', 'kept', 'scope')
  return kept_for(meta[1], meta[2], meta[3]) and meta[4] ~= ''
end

for _, route in ipairs(KEYS) do
  if dropped == tonumber(ARGV[3]) then break end
  local key = target(route)
  if not key then
    if redis.call('EXISTS', route) == 1 then skipped[#skipped + 1] = route end
  elseif redis.call('EXISTS', session_key(key)) == 0 and not keeps(route) then
    dropped = dropped + redis.call('DEL', route)
  end
end
return {dropped, skipped}
