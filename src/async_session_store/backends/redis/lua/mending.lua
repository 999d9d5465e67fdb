-- What writes do to sessions and to what routes to them.
--
-- Whatever a server that is out of memory refuses comes first in a script, and before it come all reads
-- that may meet a key of a wrong type: so all is done, or nothing. A set of waits of a wrong type does not
-- keep a wait from ending.

-- include sessions.lua

-- Let a key expire at a time in milliseconds since the epoch; never, without one.
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

-- Stop all routing to a session, as far as our meta key and its owner tell of it.
local function unroute(key, session)
  redis.call('DEL', meta_key(key), route_to(key, session) or meta_key(key))
  if session.known then redis.pcall('SREM', user_key(session.known), key) end
  if session.owner then redis.pcall('SREM', user_key(session.owner), key) end
end

-- Remove a wait of an owner, and its session unless that may be another's.
local function clear(key, session, owner)
  unroute(key, session)
  redis.pcall('SREM', user_key(owner), key)
  if (session.owner or session.known) == owner then redis.call('DEL', session_key(key)) end
end

-- Let a session wait nowhere any more, once the scope key of an owner leads to another. What a Rust
-- process wrote may wait at one more scope.
local function detach(key, session, owner)
  if is_only_at_its_scope(session) then
    redis.call('HSET', meta_key(key), 'scope', '')
    session.scope = false
  end
  if not route_to(key, session) then redis.pcall('SREM', user_key(owner), key) end
end

-- Know a wait that a Rust process wrote from all that it writes later, even the same once more: the
-- document gets a stamp, which is lost with the next SET.
local function adopt(key, owner, scope, by, fresh)
  local stamp = stamp_of(key)
  if not stamp then
    redis.call('APPEND', session_key(key), fresh)
    stamp = fresh
  end
  redis.call(
    'HSET', meta_key(key), 'owner', owner, 'scope', scope, 'wait', fresh, 'stamp', stamp, 'adopted', by
  )
  follow_deadline(meta_key(key), key)
end
