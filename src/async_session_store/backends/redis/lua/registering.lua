-- Register a wait whose key or scope may be in use.

-- include mending.lua

-- Return why an owner may not register under the key of a live session, or nil.
local function refusal(before, owner)
  if before and before.owner and before.owner ~= owner then return 'FOREIGN' end
  if before and not before.readable then return 'UNREADABLE' end
  return nil
end

-- Store a session's document, and route a scope key to the session instead of all that routed to it before.
-- `old` holds the known fields of the session. SET comes first: a server that is out of memory refuses it.
-- The new route comes last, as it may be the very one that is removed.
local function store_and_route(key, document, route, old, expires)
  redis.call('SET', session_key(key), document, unpack(expires))
  unroute(key, old)
  redis.call('SET', route, key, unpack(expires))
end
