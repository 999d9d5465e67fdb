-- Return the live sessions and the expired waits that some keys lead to, within a fence, and where they wait.
--
-- KEYS     session keys, meta keys and scope keys
-- ARGV[3]  the fence: env:tenant: or env:tenant:team:
-- ARGV[4]  1 if these are scope keys that were put off
-- returns  {how many of KEYS were looked at, {session, ...}, {scope keys to look at last}}; each session is {1 if it waits somewhere, 1 if it
--          is an expired wait, the hash of the scope or nothing, its owner as far as that is known, the items of
--          a record (see sessions.lua)}. It stops early after it has read or parsed many bytes
--
-- A live wait is returned for its scope key, which alone says where a session of a Rust process waits. For its
-- session key, such a session is returned without a scope: no scope key may lead to it any more.
--
-- If a Rust process has moved a wait of ours, its old scope key may still lead to it. So that key is looked at
-- last: whoever moves the session moves it from the place where the Rust process has put it.

-- include kept_waits.lua
-- include nested.lua

local MAX_BYTES = 1048576 -- of the reply
local MAX_PARSED = 65536 -- cjson takes 20 to 80 ms for a megabyte

local fence = ARGV[3]
local session_prefix, meta_prefix = session_key(''), meta_key('')
local scope_prefix = namespace .. ':waits:scope:'
local found, put_off, bytes, parsed = {}, {}, 0, 0

local function rest_after(prefix, name)
  return string.sub(name, 1, #prefix) == prefix and string.sub(name, #prefix + 1) or nil
end

local function is_within_fence(owner) return owner and string.sub(owner, 1, #fence) == fence end

local function add(waits, is_expired, scope, owner, item)
  found[#found + 1] = {waits, is_expired, scope, owner, unpack(item)}
  bytes = bytes + #(item[2] or '')
end

-- Read a session, and count what that takes.
local function examined(key)
  local session = read(key)
  if session and not session.ours then
    local size = redis.pcall('STRLEN', session_key(key))
    if type(size) == 'number' then parsed = parsed + math.min(size, LARGEST_WHOLE) end
  end
  return session
end

local function look_at_route(name)
  local owner, scope = string.match(name, '^([^:]*:[^:]*:[^:]*:[^:]*):([^:]*)$')
  if not is_within_fence(owner) then return end
  local key = redis.pcall('GET', scope_key(owner, scope))
  local session = type(key) == 'string' and examined(key)
  if not session or not may_be_of(owner, session) then return end
  if is_only_at_its_scope(session) and session.scope ~= scope then return end
  if not session.ours and session.scope == scope and ARGV[4] ~= '1' then
    put_off[#put_off + 1] = scope_prefix .. name
    return
  end
  add(1, 0, scope, owner, record(key, session, scope_key(owner, scope)))
end

local function look_at_session(key)
  local session = examined(key)
  local owner = session and (session.owner or session.known)
  if not is_within_fence(owner) or not is_of_namespace(key, session) then return end
  if is_only_at_its_scope(session) then
    if not route_to(key, session) then add(0, 0, false, owner, record(key, session)) end
  else
    local is_listed = redis.pcall('SISMEMBER', user_key(owner), key) == 1
    add(is_listed and 1 or 0, 0, false, owner, record(key, session))
  end
end

local function look_at_meta(key)
  local old = known(key)
  if not old.kept or not is_within_fence(old.known) or not old.scope or old.scope == '' then return end
  if not has_passed(key, old) then return end
  if looks_nested(key) and redis.pcall('SISMEMBER', expiring_key(old.known), key) ~= 1 then return end
  local copy = redis.call('HMGET', meta_key(key), 'copy')[1]
  local ends = expiry(meta_key(key)) - old.kept
  add(1, 1, old.scope, old.known, {key, copy, ends, old.known, old.place})
end

for index, name in ipairs(KEYS) do
  local key, meta = rest_after(session_prefix, name), rest_after(meta_prefix, name)
  if key then
    look_at_session(key)
  elseif meta then
    look_at_meta(meta)
  else
    look_at_route(string.sub(name, #scope_prefix + 1))
  end
  if bytes >= MAX_BYTES or parsed >= MAX_PARSED then return {index, found, put_off} end
end
return {#KEYS, found, put_off}
