-- Stands before every script.
--
-- ARGV[1]  the namespace
-- ARGV[2]  the largest document, in bytes
-- An owner is the text that stands in the keys: env:tenant:team:user, with "-" for no team and
-- nothing for no user. A session is {document, owner, complete}: owner is nil if it cannot be
-- told, complete says whether all that a document needs is there.
-- Writes that only mend what a reader found are tried (pcall): a replica refuses them.

local namespace, largest = ARGV[1], tonumber(ARGV[2])

local function session_key(key) return namespace .. ':session:' .. key end
local function meta_key(key) return namespace .. ':meta:' .. key end
local function user_key(owner) return namespace .. ':waits:user:' .. owner end
local function scope_key(owner, scope) return namespace .. ':waits:scope:' .. owner .. ':' .. scope end

-- JSON's null is no string, and neither is anything else that is no text.
local function text(value)
  return type(value) == 'string' and value or nil
end

local function identifier(value)
  return text(value) and string.match(value, '^[%w._-]+$')
end

-- The value of a field that is written under two names; false if there is none or they differ.
local function twin(fields, name, other)
  local one, two = text(fields[name]), text(fields[other])
  if one and two and one ~= two then return false end
  return one or two or false
end

local function owner_of(ctx)
  local env, tenant = identifier(ctx.env), identifier(twin(ctx, 'tenant', 'tenant_id'))
  local team, user = twin(ctx, 'team', 'team_id'), twin(ctx, 'user', 'user_id')
  if not env or not tenant then return nil end
  if team and (not identifier(team) or team == '-') then return nil end
  if user and not identifier(user) then return nil end
  return env .. ':' .. tenant .. ':' .. (team or '-') .. ':' .. (user or '')
end

local function parse(document)
  local session = {document = document}
  local valid, fields = pcall(cjson.decode, document)
  if not valid or type(fields) ~= 'table' then return session end
  if type(fields.tenant_ctx) == 'table' then session.owner = owner_of(fields.tenant_ctx) end
  session.complete = session.owner and text(fields.flow_id) and text(fields.context_json)
    and type(fields.cursor) == 'table' and text(fields.cursor.node_pointer) and true
  return session
end

-- The live session under a key, or nil.
local function read(key)
  local size = redis.pcall('STRLEN', session_key(key))
  if type(size) == 'table' or size > largest then return {} end
  local document = redis.call('GET', session_key(key))
  return document and parse(document) or nil
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
  local meta = redis.call('HMGET', meta_key(key), 'scope', 'digest')
  return meta[1] and meta[1] ~= scope_hash and session.document
    and redis.sha1hex(session.document) == meta[2]
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
