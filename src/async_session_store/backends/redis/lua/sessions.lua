-- Sessions, and what routes to them.
--
-- A session is a table:
--   fits       whether its document is a text that is not larger than ARGV[2] (bytes)
--   ours       whether we wrote the document: it ends in the stamp that stands in our meta key
--   owner      its owner, as the document tells; nil if it does not
--   readable   whether readers can read the document
--   and what our meta key tells, false where it does not:
--   known      its owner
--   scope      the hash of the scope where it waits
--   wait       the identity of the wait
--   stamp      the blanks that our document ends in; no one else ends one so
--   digest     the SHA-1 of a document of a Rust process that has been claimed
--   new_deadline  the SHA-1, or the stamp, of a document whose deadline was set when its route was
--              not known
--
-- Writes that only mend what a reader found are tried (pcall): a replica refuses them.

-- include names.lua
-- include deadlines.lua
-- include documents.lua

local largest = tonumber(ARGV[2])

local function user_key(owner) return namespace .. ':waits:user:' .. owner end
local function scope_key(owner, scope) return namespace .. ':waits:scope:' .. owner .. ':' .. scope end

local CLOCK_TICKS = 2 -- milliseconds that may pass within a script (Redis 6.2 does not stop the clock)

local function claim_key(owner, scope) return namespace .. ':claim:' .. owner .. ':' .. scope end
local function delivery_key(owner, digest) return namespace .. ':delivery:' .. owner .. ':' .. digest end

-- What our meta key knows of a session: also of one that a Rust process removed.
local function known(key)
  local meta = redis.call(
    'HMGET', meta_key(key), 'owner', 'scope', 'wait', 'stamp', 'digest', 'new_deadline'
  )
  return {
    known = meta[1], scope = meta[2], wait = meta[3], stamp = meta[4], digest = meta[5],
    new_deadline = meta[6],
  }
end

local function document_of(key) return redis.call('GET', session_key(key)) end

local function ending(key, length) return redis.call('GETRANGE', session_key(key), -length, -1) end

-- The live session under a key, or nil.
local function read(key)
  local size = redis.pcall('STRLEN', session_key(key))
  if size == 0 and redis.call('EXISTS', session_key(key)) == 0 then return nil end
  if type(size) == 'table' and not string.find(size.err, 'WRONGTYPE') then error(size.err) end
  local session = known(key)
  if type(size) ~= 'number' then return session end
  if session.stamp and ending(key, #session.stamp) == session.stamp then
    session.ours, size = true, size - #session.stamp
  end
  if size > largest then return session end
  session.fits = true
  if session.ours then
    session.owner, session.readable = session.known, true
  else
    session.owner, session.readable = examine(document_of(key))
  end
  return session
end

-- Whether the owner `viewer` may know of a session; everyone if it is empty.
local function sees(viewer, owner)
  if viewer == '' or not owner then return true end
  local tenancy, user = string.match(viewer, '^(.*):(.-)$')
  local other_tenancy, other_user = string.match(owner, '^(.*):(.-)$')
  return tenancy == other_tenancy and (user == '' or other_user == '' or user == other_user)
end

local function set_deadline(key, deadline)
  if deadline then
    redis.call('PEXPIREAT', key, deadline)
  else
    redis.call('PERSIST', key)
  end
end

-- Whether a session may be an owner's, as far as that can be told.
local function may_be_of(owner, session)
  local told = session.owner or session.known
  return not told or told == owner
end

-- The scope key that routes to a session, as far as our meta key tells, or nil.
local function route_to(key, session)
  local route = session.scope and may_be_of(session.known, session)
    and scope_key(session.known, session.scope)
  return route and redis.call('GET', route) == key and route or nil
end

-- Stop all routing to a session, as far as our meta key and its owner tell of it.
local function unroute(key, session)
  local known, owner = session.known, session.owner
  if known then
    redis.call('DEL', meta_key(key), route_to(key, session) or meta_key(key))
    redis.call('SREM', user_key(known), key)
  end
  if owner and owner ~= known then redis.call('SREM', user_key(owner), key) end
end

-- Remove a wait of an owner, and its session unless that may be another's.
local function clear(key, session, owner)
  unroute(key, session)
  redis.call('SREM', user_key(owner), key)
  if (session.owner or session.known) == owner then redis.call('DEL', session_key(key)) end
end

-- Whether a document ends in this stamp or has this SHA-1.
local function is_document(key, mark)
  return mark == ending(key, #mark) or mark == redis.sha1hex(document_of(key))
end

-- Let a route expire with its session.
local function follow_deadline(key, route)
  local left = redis.call('PTTL', session_key(key))
  if left == -1 then redis.pcall('PERSIST', route) else redis.pcall('PEXPIRE', route, left) end
  redis.pcall('HDEL', meta_key(key), 'new_deadline')
end

-- A Rust process that updates a session drops its deadline; the scope key still has it.
local function restore_deadline(key, session, route)
  if session.ours or not session.owner then return end
  route = route or route_to(key, session)
  if not route then return end
  if session.new_deadline and is_document(key, session.new_deadline) then
    session.new_deadline = false
    return follow_deadline(key, route)
  end
  if redis.call('PTTL', session_key(key)) ~= -1 then return end
  local left = redis.call('PTTL', route)
  if left > 0 then redis.pcall('PEXPIRE', session_key(key), left) end
end

-- Whether no one but us wrote a session since we last knew it. A document that a Rust process wrote
-- is known by its digest, and by its deadline if it was written again just as it was.
local function untouched(key, session)
  if session.ours then return true end
  if not session.digest or session.digest ~= redis.sha1hex(document_of(key)) then return false end
  local left, ours_left = redis.call('PTTL', session_key(key)), redis.call('PTTL', meta_key(key))
  return math.abs(left - ours_left) <= CLOCK_TICKS
end

-- Whether a session moved away from a scope: we wrote it last, and at another.
local function moved(key, session, scope)
  return session.scope ~= scope and untouched(key, session)
end

-- What a scope of an owner routes to: a key and its session; a key alone if it must not any more, as
-- its session is gone or moved; or nil.
local function routed(owner, scope)
  local key = redis.call('GET', scope_key(owner, scope))
  local session = key and read(key)
  if not session then return key or nil end
  if not may_be_of(owner, session) then return nil end
  if moved(key, session, scope) then return key end
  return key, session
end

-- The key and the live session that wait at a scope of an owner, or nil.
local function waiting(owner, scope)
  local route = scope_key(owner, scope)
  local key, session = routed(owner, scope)
  if key and not session then redis.pcall('DEL', route) end
  if not session then return nil end
  restore_deadline(key, session, route)
  return key, session
end

-- The live waits of an owner, as a list of {key, session}. Members that are none are dropped.
local function all_waiting(owner)
  local waits = {}
  for _, key in ipairs(redis.call('SMEMBERS', user_key(owner))) do
    local session = read(key)
    if not session or not may_be_of(owner, session) then
      redis.pcall('SREM', user_key(owner), key)
    else
      restore_deadline(key, session)
      waits[#waits + 1] = {key = key, session = session}
    end
  end
  return waits
end

-- When a key expires, in milliseconds since the epoch, or -1. Redis 6.2 must be asked for the time
-- left and for the time, and once more if the clock ticked in between.
local function expiry(key)
  local exact = redis.pcall('PEXPIRETIME', key)
  if type(exact) == 'number' then return exact end
  while true do
    local before, left = now(), redis.call('PTTL', key)
    if left < 0 then return -1 end
    if now() == before then return before + left end
  end
end

-- {key, document or nothing, when it expires in milliseconds since the epoch or -1}
local function record(key, session)
  return {key, session.fits and document_of(key) or false, expiry(session_key(key))}
end
