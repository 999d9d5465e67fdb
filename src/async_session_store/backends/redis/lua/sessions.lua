-- Sessions, their last writers, and the keys that route to them. Nothing here writes; see mending.lua for
-- changes.
--
-- A session is a table:
--   lives      true
--   fits       whether its document is a text of at most ARGV[2] bytes
--   ours       whether nobody has written the document since our meta key was set: it still ends in the
--              stamp in that key
--   owner      its owner, from our meta key if it is ours, else from the document; nil if it cannot be
--              determined
--   readable   whether readers can read the document
-- and the fields of our meta key, false where one is missing:
--   known      its owner
--   scope      the hash of the scope where it waits, as far as we know; empty once it is detached
--   wait       the identity of the wait
--   stamp      the blanks that the document ended in
--   place      the scope where it waits, as JSON
--   adopted    if a Rust process wrote the document: the call that stamped it, 'claim' or 'touch'
--   kept       for how many milliseconds the wait is kept for a worker after its deadline
--
-- The document decides which owner a session has, and its last writer decides where the session waits:
--   ours, not adopted  at the scope in our meta key, and nowhere else
--   any other          wherever a scope key of its owner leads to it, as in the Rust crate: its writer does
--                      not know our meta key, and may have moved it

-- include names.lua
-- include documents.lua
-- include expiry.lua

local largest = tonumber(ARGV[2])

local function user_key(owner) return namespace .. ':waits:user:' .. owner end
local function scope_key(owner, scope) return namespace .. ':waits:scope:' .. owner .. ':' .. scope end
local function claim_key(owner, scope) return namespace .. ':claim:' .. owner .. ':' .. scope end
local function delivery_key(owner, digest) return namespace .. ':delivery:' .. owner .. ':' .. digest end

-- Return for how many milliseconds a wait is kept after its deadline, or nil. The field begins with the
-- identity of its wait: an older version of this library may have registered the next wait and left it there.
local function kept_for(owner, wait, kept)
  if not wait or not kept or string.sub(kept, 1, #wait) ~= wait then return nil end
  local is_owned = owner and string.find(owner, ':', 1, true) -- else the meta key is damaged
  return is_owned and tonumber(string.sub(kept, #wait + 1)) or nil
end

-- Return the fields of our meta key for a session, even for one that a Rust process has removed. A meta key
-- of the wrong type counts as missing.
local function known(key)
  local meta = redis.pcall(
    'HMGET', meta_key(key), 'owner', 'scope', 'wait', 'stamp', 'place', 'adopted', 'kept'
  )
  if meta.err and not string.find(meta.err, 'WRONGTYPE') then error(meta.err) end
  return {
    known = meta[1], scope = meta[2], wait = meta[3], stamp = meta[4], place = meta[5],
    adopted = meta[6], kept = kept_for(meta[1], meta[3], meta[7]),
  }
end

-- Return the live session under a key, or nil. A key that is not UTF-8 has none: no library can pass it.
local function read(key)
  local size = redis.pcall('STRLEN', session_key(key))
  if size == 0 and redis.call('EXISTS', session_key(key)) == 0 or not is_utf8(key) then return nil end
  if type(size) == 'table' and not string.find(size.err, 'WRONGTYPE') then error(size.err) end
  local session = known(key)
  session.lives = true
  if type(size) ~= 'number' then return session end
  local stamp = stamp_of(key)
  session.ours = stamp and stamp == session.stamp
  if stamp then size = size - #stamp end
  if size > largest then return session end
  session.fits = true
  if session.ours then
    session.owner, session.readable = session.known, true
  else
    session.owner, session.readable = examine(key, size, stamp)
  end
  return session
end

-- Return whether `viewer` may know of a session. An empty viewer may know of all.
local function sees(viewer, owner)
  if viewer == '' or not owner then return true end
  local tenancy, user = string.match(viewer, '^(.*):(.-)$')
  local other_tenancy, other_user = string.match(owner, '^(.*):(.-)$')
  return tenancy == other_tenancy and (user == '' or other_user == '' or user == other_user)
end

-- Return whether a session may belong to an owner. One whose owner is unknown may.
local function may_be_of(owner, session)
  local found = session.owner or session.known
  return not found or found == owner
end

local function is_only_at_its_scope(session) return session.ours and not session.adopted end

-- Return the key and the live session that wait at a scope of an owner, or nil.
local function waiting(owner, scope)
  local key = redis.call('GET', scope_key(owner, scope))
  local session = key and read(key)
  if not session or not may_be_of(owner, session) then return nil end
  if is_only_at_its_scope(session) and session.scope ~= scope then return nil end
  return key, session
end

-- Return the live waits of an owner, as a list of {key, session}.
local function all_waiting(owner)
  local waits = {}
  for _, key in ipairs(redis.call('SMEMBERS', user_key(owner))) do
    local session = read(key)
    if session and may_be_of(owner, session) then
      waits[#waits + 1] = {key = key, session = session}
    end
  end
  return waits
end

-- Return the scope key that leads to a session according to our meta key, or nil.
local function route_to(key, session)
  local route = session.known and session.scope and may_be_of(session.known, session)
    and scope_key(session.known, session.scope)
  return route and redis.pcall('GET', route) == key and route or nil
end

-- Return the same, but nil if a Rust process has written the document since, and so may have moved the wait.
local function sure_route_to(key, session) return session.ours and route_to(key, session) or nil end

-- Return when a wait ends, in milliseconds since the epoch, or -1. A Rust process that updates a session drops
-- its deadline, but the scope key that leads to the session still has it.
local function wait_end(key, session, route)
  local own = expiry(session_key(key))
  if own >= 0 or not route or session.ours and session.adopted ~= 'claim' then return own end
  return expiry(route)
end

-- Return {key, document or nothing, when it ends in milliseconds since the epoch or -1, its owner or nothing,
-- the scope where it waits as JSON or nothing}.
local function record(key, session, route)
  local document = session.fits and document_of(key) or false
  local place = route and is_only_at_its_scope(session) and session.place
  return {key, document, wait_end(key, session, route), session.owner or false, place or false}
end
