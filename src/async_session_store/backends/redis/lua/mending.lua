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

-- Drop the index entries of a wait that is kept for a worker.
local function delist_kept(key, session)
  if not session.kept then return end
  -- include expiring.lua
  delist(key, session.known)
end

-- Keep a wait no longer than its session.
local function forget_kept(key, session)
  if not session.kept then return end
  redis.call('HDEL', meta_key(key), 'kept', 'copy')
  delist_kept(key, session)
  follow_deadline(meta_key(key), key)
end

-- Mark the claim that is held on a wait that is kept, if there is one. The claim that is held on its scope
-- may be on another wait, if it has expired.
local function supersede_its_claim(session)
  local name = claim_key(session.known, session.scope)
  if is_held_on(name, session.wait) then supersede(name) end
end

-- Stop all routing to a session, as far as our meta key and its owner reveal it, or end the wait that is
-- kept of it. A claim that is held where it waits is superseded; if it has expired, only its own.
local function unroute(key, session)
  local route = route_to(key, session)
  redis.call('DEL', meta_key(key), route or meta_key(key))
  if route and session.lives then
    supersede(claim_key(session.known, session.scope))
  elseif session.kept then
    supersede_its_claim(session)
  end
  delist_kept(key, session)
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
  forget_kept(key, session)
  redis.pcall('SREM', user_key(owner), key)
end

-- Make a wait that a Rust process wrote distinguishable from all that it writes later, even the same
-- document: append a stamp, which the next SET removes. What we kept of the wait before it ends.
local function adopt(key, session, owner, scope, by, fresh)
  local stamp = stamp_of(key)
  if not stamp then
    redis.call('APPEND', session_key(key), fresh)
    stamp = fresh
  end
  redis.call('DEL', meta_key(key)) -- it may be of the wrong type
  delist_kept(key, session)
  redis.call(
    'HSET', meta_key(key), 'owner', owner, 'scope', scope, 'wait', fresh, 'stamp', stamp, 'adopted', by
  )
  follow_deadline(meta_key(key), key)
end
