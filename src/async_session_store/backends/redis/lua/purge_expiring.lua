-- Drop index entries of waits that are no longer kept: one step of a scan of an index key (see expiring.lua).
--
-- KEYS[1]  the index key
-- ARGV[3]  the largest number of entries to drop
-- ARGV[4]  the cursor of the scan
-- ARGV[5]  the approximate number of entries to scan
-- returns  {the next cursor, how many were dropped}, or nothing if the key has the wrong type

-- include sessions.lua
-- include expiring.lua

local whose = string.sub(KEYS[1], #expiring_key('') + 1)
local kind = redis.call('TYPE', KEYS[1]).ok
local is_set = string.find(whose, '^[^:]*:[^:]*:[^:]*:') ~= nil
if kind == 'none' then return {'0', 0} end -- it was deleted since it was found
if kind ~= (is_set and 'set' or 'zset') then return false end

-- Return whether a wait of an owner is kept, live or expired.
local function is_kept(key, owner)
  local old = known(key)
  return old.kept and old.known == owner and old.scope ~= ''
end

local function is_stale(member)
  if whose == 'all' then return redis.call('EXISTS', expiring_key(member)) == 0 end
  if is_set then return not is_kept(member, whose) end
  local user, key = string.match(member, '^(.-):(.*)$')
  return not user or not is_kept(key, whose .. ':' .. user)
end

local function scan()
  if is_set then return redis.call('SSCAN', KEYS[1], ARGV[4], 'COUNT', ARGV[5]) end
  return redis.call('ZSCAN', KEYS[1], ARGV[4], 'COUNT', ARGV[5])
end

local function remove(member)
  if is_set then return redis.call('SREM', KEYS[1], member) end
  return redis.call('ZREM', KEYS[1], member)
end

local dropped = 0
local reply = scan()
for index = 1, #reply[2], is_set and 1 or 2 do -- a sorted set has a score after each member
  if dropped == tonumber(ARGV[3]) then break end
  local member = reply[2][index]
  if is_stale(member) then dropped = dropped + remove(member) end
end
if not is_set and redis.call('EXISTS', KEYS[1]) == 0 then
  redis.pcall('ZREM', expiring_key('all'), whose)
end
return {reply[1], dropped}
