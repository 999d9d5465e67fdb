-- Return sessions and expired waits with all that another storage needs to hold the same.
--
-- KEYS     session keys
-- ARGV[3]  and so on, one for each of KEYS: the hash of the scope whose key names the session, or empty if that
--          is not known; it is used only if our meta key does not say where the session waits
-- returns  {item, ...}, one for each of the first keys: nothing if neither a live session nor an expired wait is
--          there, or else {the hash of the scope or empty, for how many milliseconds it is kept after its deadline
--          or nothing, the items of a record (see sessions.lua)}. It stops early after it has read or parsed many
--          bytes

-- include kept_waits.lua

local MAX_BYTES = 1048576 -- of the reply
local MAX_PARSED = 65536 -- cjson takes 20 to 80 ms for a megabyte

local bytes, parsed = 0, 0

local function live_copy(key, session, hint)
  local scope, route = '', nil
  if is_only_at_its_scope(session) then
    route = session.scope and session.scope ~= '' and sure_route_to(key, session)
    scope = route and session.scope or ''
  elseif hint ~= '' then
    local owner = session.owner or session.known
    local is_there = owner and redis.pcall('GET', scope_key(owner, hint)) == key
    route = is_there and scope_key(owner, hint) or nil
    scope = is_there and hint or ''
  end
  local kept = is_only_at_its_scope(session) and scope ~= '' and session.kept or false
  return {scope, kept, unpack(record(key, session, route))}
end

local function expired_copy(key)
  local old = known(key)
  if not old.kept or not old.scope or old.scope == '' or not has_passed(key, old) then return false end
  local document = redis.call('HMGET', meta_key(key), 'copy')[1]
  local deadline = expiry(meta_key(key)) - old.kept
  return {old.scope, old.kept, key, document, deadline, old.known, old.place}
end

local found = {}
for index, name in ipairs(KEYS) do
  local key = string.sub(name, #session_key('') + 1)
  local session = read(key)
  if session then
    found[index] = live_copy(key, session, ARGV[index + 2])
    local size = redis.pcall('STRLEN', name)
    if type(size) ~= 'number' then size = 0 end
    if not session.ours then parsed = parsed + math.min(size, LARGEST_WHOLE) end
    bytes = bytes + size
  else
    found[index] = expired_copy(key)
    bytes = bytes + (found[index] and found[index][4] and #found[index][4] or 0)
  end
  if bytes >= MAX_BYTES or parsed >= MAX_PARSED then break end
end
return found
