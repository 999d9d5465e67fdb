-- Tell which of some keys name something that can be copied to another storage.
--
-- KEYS     session keys, meta keys and scope keys
-- returns  a verdict for each of the first keys: 1 for a live session, and for the meta key of a kept wait; 2
--          for a live session that waits where only a scope key of its owner says; for such a scope key, the key
--          of the session; 0 for all others. It stops early after it has parsed many bytes

-- include kept_waits.lua
-- include nested.lua

local MAX_PARSED = 65536 -- bytes; cjson takes 20 to 80 ms for a megabyte

local session_prefix, meta_prefix = session_key(''), meta_key('')
local parsed = 0

local function begins(name, prefix) return string.sub(name, 1, #prefix) == prefix end

local function note_parsed(key, session)
  local size = not session.ours and redis.pcall('STRLEN', session_key(key))
  if type(size) == 'number' then parsed = parsed + math.min(size, LARGEST_WHOLE) end
end

local function judge_session(key)
  local session = read(key)
  if not session then return 0 end
  note_parsed(key, session)
  if not is_of_namespace(key, session) then return 0 end
  if is_only_at_its_scope(session) then return 1 end
  local owner = session.owner or session.known
  return owner and redis.pcall('SISMEMBER', user_key(owner), key) == 1 and 2 or 1
end

-- A live wait of ours is named here too: once it has expired, its session key is gone, and the scan may come to
-- that key after its meta key.
local function judge_meta(key)
  local old = known(key)
  if not old.kept or not is_utf8(key) then return 0 end
  if looks_nested(key) and redis.pcall('SISMEMBER', expiring_key(old.known), key) ~= 1 then return 0 end
  if has_passed(key, old) then return 1 end
  local session = read(key)
  if session then note_parsed(key, session) end
  return session and is_only_at_its_scope(session) and 1 or 0
end

local function judge_route(name)
  local key = redis.pcall('GET', name)
  local session = type(key) == 'string' and read(key)
  if not session then return 0 end
  note_parsed(key, session)
  local owner = session.owner or session.known
  return not is_only_at_its_scope(session) and owner and begins(name, scope_key(owner, '')) and key or 0
end

local verdicts = {}
for index, name in ipairs(KEYS) do
  if begins(name, session_prefix) then
    verdicts[index] = judge_session(string.sub(name, #session_prefix + 1))
  elseif begins(name, meta_prefix) then
    verdicts[index] = judge_meta(string.sub(name, #meta_prefix + 1))
  else
    verdicts[index] = judge_route(name)
  end
  if parsed >= MAX_PARSED then break end
end
return verdicts
