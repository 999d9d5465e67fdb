-- The names of keys, and what a session as we wrote it needs. Making many functions takes Redis as long
-- as running a few commands, so scripts include more only once they need it.
--
-- ARGV[1]  the namespace
-- ARGV[2]  the largest document, in bytes

local namespace, largest = ARGV[1], tonumber(ARGV[2])

local function session_key(key) return namespace .. ':session:' .. key end
local function meta_key(key) return namespace .. ':meta:' .. key end
local function user_key(owner) return namespace .. ':waits:user:' .. owner end
local function scope_key(owner, scope) return namespace .. ':waits:scope:' .. owner .. ':' .. scope end

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The deadline that a time to live in milliseconds gives; nil if it is empty.
local function deadline_after(ttl)
  return ttl ~= '' and string.format('%.0f', now() + tonumber(ttl)) or nil
end

local function set(key, value, deadline)
  if deadline then
    redis.call('SET', key, value, 'PXAT', deadline)
  else
    redis.call('SET', key, value)
  end
end

-- What our meta key tells of a session, if its document is as we wrote it last; else nil. Then its
-- owner need not be read from it. Its fields: see sessions.lua. A stamp is 32 bytes; Redis takes the
-- number sooner as a text.
local function as_we_wrote(key)
  local meta = redis.pcall('HMGET', meta_key(key), 'owner', 'scope', 'stamp', 'new_deadline')
  local stamp = meta[3]
  if not stamp or redis.pcall('GETRANGE', session_key(key), '-32', '-1') ~= stamp then return nil end
  return {known = meta[1], scope = meta[2], stamp = stamp, new_deadline = meta[4]}
end
