-- Waits that are kept for a worker after their deadline, and the index of their due times.
--
-- The fields 'kept' and 'copy' of our meta key hold such a wait, and the key outlives the session by the
-- time in 'kept' (see sessions.lua). The index:
--
--   expiring:{env}:{tenant}:{team}         a sorted set: {user}:{key} by due time
--   expiring:{env}:{tenant}:{team}:{user}  the set of the owner's keys
--   expiring:all                           the directory, a sorted set: {env}:{tenant}:{team} by a lower
--                                          bound on its first due time
--
-- An index key of the wrong type is left alone, and its waits are not handed out. So errors of these commands
-- are ignored. A server that takes no writes still refuses the script, because of its other commands.

-- include names.lua
-- include clock.lua

local function expiring_key(whose) return namespace .. ':expiring:' .. whose end

local function tenancy_and_user(owner) return string.match(owner, '^(.*):(.-)$') end

local function enlist(key, owner, due, ends)
  local tenancy, user = tenancy_and_user(owner)

  -- Add an entry to an index key, and let the key live until the wait is gone. A minute is added, so that the
  -- deadline of the key seldom has to be moved.
  local function add(command, name, ...)
    if type(redis.pcall(command, name, ...)) ~= 'number' then return end
    if now() + redis.call('PTTL', name) < ends then
      redis.call('PEXPIREAT', name, string.format('%.0f', ends + 60000))
    end
  end

  add('ZADD', expiring_key(tenancy), due, user .. ':' .. key)
  add('ZADD', expiring_key('all'), 'LT', due, tenancy)
  add('SADD', expiring_key(owner), key)
end

local function remove_entry(key, owner)
  local tenancy, user = tenancy_and_user(owner)
  redis.pcall('ZREM', expiring_key(tenancy), user .. ':' .. key)
  redis.pcall('SREM', expiring_key(owner), key)
end

local function delist(key, owner)
  remove_entry(key, owner)
  local tenancy = tenancy_and_user(owner)
  if redis.call('EXISTS', expiring_key(tenancy)) == 0 then
    redis.pcall('ZREM', expiring_key('all'), tenancy)
  end
end

-- Make a wait fall due at its deadline, and keep it for `ttl` milliseconds more.
local function keep_after(deadline, ttl, key, owner)
  local ends = deadline + ttl
  redis.call('PEXPIREAT', meta_key(key), string.format('%.0f', ends))
  enlist(key, owner, deadline, ends)
end

-- Keep a wait after its deadline. If `deadline` is nil, the wait falls due only after a touch has set one.
local function keep(key, owner, wait, document, deadline, ttl)
  redis.call('HSET', meta_key(key), 'kept', wait .. ttl, 'copy', document)
  if deadline then keep_after(deadline, ttl, key, owner) end
end
