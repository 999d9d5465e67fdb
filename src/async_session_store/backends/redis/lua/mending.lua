-- What writes do to sessions and to what routes to them.
--
-- A script runs all reads that may meet a key of the wrong type first, then the commands that a server
-- refuses when it is out of memory. So it is done wholly or not at all. A set of waits of the wrong type
-- does not keep a wait from ending.

-- include sessions.lua
-- include claims.lua

-- Let a key expire at a time in milliseconds since the epoch, or never if there is none.
local function set_deadline(key, deadline)
  if deadline then
    redis.call('PEXPIREAT', key, deadline)
  else
    redis.call('PERSIST', key)
  end
end

-- Let a key expire when a session does.
local function follow_deadline(name, key)
  local own = expiry(session_key(key))
  set_deadline(name, own >= 0 and string.format('%.0f', own) or nil)
end

-- Stop all routing to a session, as far as our meta key and its owner reveal it. A claim that is held
-- where it waits is superseded.
local function unroute(key, session)
  local route = route_to(key, session)
  redis.call('DEL', meta_key(key), route or meta_key(key))
  if route and session.lives then supersede(claim_key(session.known, session.scope)) end
  if session.known then redis.pcall('SREM', user_key(session.known), key) end
  if session.owner then redis.pcall('SREM', user_key(session.owner), key) end
end

-- Remove a wait of an owner, and its session unless that may belong to another owner.
local function clear(key, session, owner)
  unroute(key, session)
  redis.pcall('SREM', user_key(owner), key)
  if (session.owner or session.known) == owner then redis.call('DEL', session_key(key)) end
end

-- Detach a session once the scope key of an owner leads to another. A session that a Rust process wrote
-- may still wait at another scope.
local function detach(key, session, owner)
  if is_only_at_its_scope(session) then
    redis.call('HSET', meta_key(key), 'scope', '')
  elseif route_to(key, session) then
    return
  end
  redis.pcall('SREM', user_key(owner), key)
end

-- Make a wait that a Rust process wrote distinguishable from all that it writes later, even the same
-- document: append a stamp, which the next SET removes.
local function adopt(key, owner, scope, by, fresh)
  local stamp = stamp_of(key)
  if not stamp then
    redis.call('APPEND', session_key(key), fresh)
    stamp = fresh
  end
  redis.call('DEL', meta_key(key)) -- it may be of the wrong type
  redis.call(
    'HSET', meta_key(key), 'owner', owner, 'scope', scope, 'wait', fresh, 'stamp', stamp, 'adopted', by
  )
  follow_deadline(meta_key(key), key)
end
