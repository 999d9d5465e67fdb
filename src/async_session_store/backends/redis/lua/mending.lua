-- Changes to sessions and to the keys that route to them.
--
-- A script first runs all reads that may meet a key of the wrong type, then the commands that a server
-- refuses when it is out of memory. So a script that fails has changed nothing. A set of waits of the wrong
-- type does not keep a wait from ending.

-- include sessions.lua
-- include claims.lua

-- Let a key expire at a time in milliseconds since the epoch, or never if that is nil.
local function set_deadline(key, deadline)
  if deadline then
    redis.call('PEXPIREAT', key, deadline)
  else
    redis.call('PERSIST', key)
  end
end

-- Let a key expire together with a session.
local function follow_deadline(name, key)
  local own = expiry(session_key(key))
  set_deadline(name, own >= 0 and string.format('%.0f', own) or nil)
end

-- Drop the index entries of a kept wait (see expiring.lua).
local function delist_kept(key, session)
  if not session.kept then return end
  -- include expiring.lua
  delist(key, session.known)
end

-- Stop keeping a wait. Its meta key expires with the session again.
local function forget_kept(key, session)
  if not session.kept then return end
  redis.call('HDEL', meta_key(key), 'kept', 'copy')
  delist_kept(key, session)
  follow_deadline(meta_key(key), key)
end

-- Supersede the claim on a kept wait, if one is held. If the wait has expired, the claim at its scope may be
-- on another wait, and stays.
local function supersede_its_claim(session)
  local name = claim_key(session.known, session.scope)
  if is_held_on(name, session.wait) then supersede(name) end
end

-- Remove everything that routes to a session, as far as our meta key and its owner show it, and stop keeping
-- its wait. Supersede the claim at its scope; if the wait has expired, only a claim on the wait itself.
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

-- Detach a session once the scope key of its owner leads to another session. A session that a Rust process
-- wrote may still wait at another scope.
local function detach(key, session, owner)
  if is_only_at_its_scope(session) then
    redis.call('HSET', meta_key(key), 'scope', '')
  elseif route_to(key, session) then
    return
  end
  forget_kept(key, session)
  redis.pcall('SREM', user_key(owner), key)
end

-- Append a stamp to a document of a Rust process, which removes it with the next SET. So this wait differs
-- from all later ones, even if the document is the same. Drop whatever we kept of an earlier wait.
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
