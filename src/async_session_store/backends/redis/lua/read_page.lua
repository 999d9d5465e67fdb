-- Return the live sessions among some, within a fence.
--
-- KEYS     session keys
-- ARGV[3]  the fence: env:tenant: or env:tenant:team:, or empty for everything
-- returns  {how many of KEYS were looked at, {session, ...}}; each session is {1 if it waits somewhere, the items
--          of a record (see sessions.lua)}. It stops early after it has read or parsed many bytes

-- include nested.lua

local MAX_BYTES = 1048576 -- of the reply
local MAX_PARSED = 65536 -- cjson takes 20 to 80 ms for a megabyte

local fence = ARGV[3]
local found, bytes, parsed = {}, 0, 0

local function is_within_fence(owner)
  return fence == '' or owner and string.sub(owner, 1, #fence) == fence
end

-- Whether a session waits that a Rust process wrote is known from its owner's set, as in the crate.
local function waits_somewhere(key, session)
  if is_only_at_its_scope(session) then return session.scope and session.scope ~= '' end
  local owner = session.owner or session.known
  return owner and redis.pcall('SISMEMBER', user_key(owner), key) == 1
end

for index, name in ipairs(KEYS) do
  local key = string.sub(name, #session_key('') + 1)
  local session = read(key)
  local size = session and redis.pcall('STRLEN', name)
  if type(size) ~= 'number' then size = 0 end
  if session and not session.ours then parsed = parsed + math.min(size, LARGEST_WHOLE) end
  if session and is_within_fence(session.owner or session.known) and is_of_namespace(key, session) then
    local waits = waits_somewhere(key, session) and 1 or 0
    found[#found + 1] = {waits, unpack(record(key, session, sure_route_to(key, session)))}
    bytes = bytes + size
  end
  if bytes >= MAX_BYTES or parsed >= MAX_PARSED then return {index, found} end
end
return {#KEYS, found}
