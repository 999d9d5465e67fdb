-- Waits that are kept for a worker after their deadline, and the index of when they are due.
--
-- The fields 'kept' and 'copy' of our meta key keep such a wait, and the key itself outlives the session
-- by that long (see sessions.lua).
--
--   expiring:{env}:{tenant}:{team}         a sorted set: {user}:{key} by when it is due
--   expiring:{env}:{tenant}:{team}:{user}  the set of the owner's keys
--   expiring:all                           a sorted set: {env}:{tenant}:{team} by a time that is not later
--                                          than when its first wait is due
--
-- A key of the wrong type is left alone: its waits are not handed out.

-- include names.lua
-- include deadlines.lua

local function expiring_key(whose) return namespace .. ':expiring:' .. whose end

local function tenancy_and_user(owner) return string.match(owner, '^(.*):(.-)$') end

-- Let an index key live until a time. It gets a minute more, so that it seldom has to be set.
local function outlive(name, ends)
  if now() + redis.call('PTTL', name) < ends then
    redis.call('PEXPIREAT', name, string.format('%.0f', ends + 60000))
  end
end

local function enlist(key, owner, due, ends)
  local tenancy, user = tenancy_and_user(owner)
  local all, index, keys = expiring_key('all'), expiring_key(tenancy), expiring_key(owner)
  redis.pcall('ZADD', index, due, user .. ':' .. key)
  redis.pcall('ZADD', all, 'LT', due, tenancy)
  redis.pcall('SADD', keys, key)
  outlive(index, ends)
  outlive(all, ends)
  outlive(keys, ends)
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

-- Let a wait be due at its deadline, and keep it for `ttl` milliseconds more.
local function keep_after(deadline, ttl, key, owner)
  local ends = deadline + ttl
  redis.call('PEXPIREAT', meta_key(key), string.format('%.0f', ends))
  enlist(key, owner, deadline, ends)
end

-- Keep a wait after its deadline, which may be nil: then it is due once a touch gives it one.
local function keep(key, owner, wait, document, deadline, ttl)
  redis.call('HSET', meta_key(key), 'kept', wait .. ttl, 'copy', document)
  if deadline then keep_after(deadline, ttl, key, owner) end
end
