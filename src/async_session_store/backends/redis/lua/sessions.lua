-- Stands before every script, after documents.lua: sessions, and what routes to them.
--
-- ARGV[1]  the namespace
-- ARGV[2]  the largest document, in bytes
-- A session is {document, fields, owner}: document is nil if it is too large or no text, fields if
-- it is no JSON, owner if that cannot be told.
-- Writes that only mend what a reader found are tried (pcall): a replica refuses them.

local namespace, largest = ARGV[1], tonumber(ARGV[2])

local function session_key(key) return namespace .. ':session:' .. key end
local function meta_key(key) return namespace .. ':meta:' .. key end
local function user_key(owner) return namespace .. ':waits:user:' .. owner end
local function scope_key(owner, scope) return namespace .. ':waits:scope:' .. owner .. ':' .. scope end

-- The live session under a key, or nil.
local function read(key)
  local size = redis.pcall('STRLEN', session_key(key))
  if type(size) == 'table' or size > largest then return {} end
  local document = redis.call('GET', session_key(key))
  if not document then return nil end
  local fields = parse(document)
  return {document = document, fields = fields, owner = fields and owner_of(fields.tenant_ctx)}
end

-- Whether we wrote the document last, as the digest in our meta key tells.
local function is_ours(key, session)
  return session.document
    and redis.call('HGET', meta_key(key), 'digest') == redis.sha1hex(session.document)
end

-- Whether readers can read the document. Ours they can.
local function is_readable(key, session)
  return session.owner and (is_ours(key, session) or is_complete(session.document, session.fields))
end

-- Whether the owner `viewer` may know of a session; everyone if it is empty.
local function sees(viewer, owner)
  if viewer == '' or not owner then return true end
  local tenancy, user = string.match(viewer, '^(.*):(.-)$')
  local other_tenancy, other_user = string.match(owner, '^(.*):(.-)$')
  return tenancy == other_tenancy and (user == '' or other_user == '' or user == other_user)
end

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

local function set_deadline(key, deadline)
  if deadline then
    redis.call('PEXPIREAT', key, deadline)
  else
    redis.call('PERSIST', key)
  end
end

-- The scope key that routes to a session, as far as our meta key tells of it, or nil.
local function route_to(key)
  local meta = redis.call('HMGET', meta_key(key), 'scope', 'owner')
  local scope = meta[1] and scope_key(meta[2], meta[1])
  return scope and redis.call('GET', scope) == key and scope or nil
end

-- Stop all routing to a session, as far as our meta key and its owner tell of it.
local function unroute(key, owner)
  local scope, meta_owner = route_to(key), redis.call('HGET', meta_key(key), 'owner')
  if scope then redis.call('DEL', scope) end
  if meta_owner then redis.call('SREM', user_key(meta_owner), key) end
  if owner then redis.call('SREM', user_key(owner), key) end
  redis.call('DEL', meta_key(key))
end

-- A Rust process that updates a session drops its deadline; the scope key still has it.
local function restore_deadline(key, scope)
  if not scope or redis.call('PTTL', session_key(key)) ~= -1 then return end
  local left = redis.call('PTTL', scope)
  if left > 0 then redis.pcall('PEXPIRE', session_key(key), left) end
end

-- Whether our meta key says that a session, last written by us, waits at another scope.
local function contradicted(key, scope_hash, session)
  local routed = redis.call('HGET', meta_key(key), 'scope')
  return routed and routed ~= scope_hash and is_ours(key, session)
end

-- The key and the live session that wait at a scope of an owner, or nil.
local function waiting(owner, scope_hash)
  local scope = scope_key(owner, scope_hash)
  local key = redis.call('GET', scope)
  if not key then return nil end
  local session = read(key)
  if not session then
    redis.pcall('DEL', scope)
    redis.pcall('SREM', user_key(owner), key)
    return nil
  end
  if session.owner and session.owner ~= owner then return nil end
  if contradicted(key, scope_hash, session) then
    redis.pcall('DEL', scope)
    return nil
  end
  restore_deadline(key, scope)
  return key, session
end

-- The live waits of an owner, as a list of {key, session}. Members that are none are dropped.
local function all_waiting(owner)
  local waits = {}
  for _, key in ipairs(redis.call('SMEMBERS', user_key(owner))) do
    local session = read(key)
    if not session or (session.owner and session.owner ~= owner) then
      redis.pcall('SREM', user_key(owner), key)
    else
      restore_deadline(key, route_to(key))
      waits[#waits + 1] = {key = key, session = session}
    end
  end
  return waits
end

-- {key, document or nothing, milliseconds to live or -1, the server's time in milliseconds}
local function record(key, session)
  return {key, session.document or false, redis.call('PTTL', session_key(key)), now()}
end
