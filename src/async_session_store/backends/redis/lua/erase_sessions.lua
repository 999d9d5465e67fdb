-- Erase what some keys lead to, if it is a user's.
--
-- KEYS     session keys, meta keys, keys of tokens (see kept_waits.lua), and scope keys of the user
-- ARGV[3]  and ARGV[4]: see erasing.lua
-- returns  {how many of KEYS were looked at; how many live waits, live sessions that waited nowhere, and
--          expired waits were erased}; it stops early after it has parsed many bytes

-- include erasing.lua
-- include nested.lua

local MAX_PARSED = 65536 -- bytes; cjson takes 20 to 80 ms for a megabyte

local session_prefix, meta_prefix = session_key(''), meta_key('')
local token_prefix = token_key('')

local function rest_after(prefix, name)
  return string.sub(name, 1, #prefix) == prefix and string.sub(name, #prefix + 1) or nil
end

local function erase_session(key)
  if looks_nested(key) then
    local session = read(key)
    if not session or not is_of_namespace(key, session) then return end
  end
  erase(key)
end

-- A session leads to its meta key, and an index to that of an expired wait. So nothing is missed if a key that
-- looks nested is left out here.
local function erase_meta(key)
  if not looks_nested(key) and is_theirs(known(key).known) then erase(key) end
end

-- The key of a token holds the key of a session. Without a meta key, that session is no expired wait.
local function erase_token(name)
  local key = redis.pcall('GET', name)
  local owner = type(key) == 'string' and known(key).known
  if not owner or is_theirs(owner) then redis.call('DEL', name) end
end

-- The session goes together with its route: a wait that is registered during the erasure must not stay without.
local function erase_route(name)
  local key = redis.pcall('GET', name)
  if type(key) == 'string' then erase(key) end
  redis.call('DEL', name)
end

for index, name in ipairs(KEYS) do
  local key, meta = rest_after(session_prefix, name), rest_after(meta_prefix, name)
  if key then
    erase_session(key)
  elseif meta then
    erase_meta(meta)
  elseif rest_after(token_prefix, name) then
    erase_token(name)
  else
    erase_route(name)
  end
  if parsed >= MAX_PARSED then return {index, waits, sessions, expired_waits} end
end
return {#KEYS, waits, sessions, expired_waits}
