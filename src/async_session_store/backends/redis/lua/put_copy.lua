-- Store a session or an expired wait of another storage, whatever is stored under its key.
--
-- KEYS[1]  its session key
-- ARGV[3]  its key
-- ARGV[4]  its owner
-- ARGV[5]  the hash of the scope where it waits, or waited until it expired, or empty
-- ARGV[6]  the document
-- ARGV[7]  the stamp that it ends in
-- ARGV[8]  its deadline in milliseconds since the epoch, or empty
-- ARGV[9]  the scope as JSON, or empty
-- ARGV[10] for how many milliseconds the wait is kept for a worker after its deadline, or empty

local key, owner, scope, document, stamp = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local deadline, place, expired_ttl = ARGV[8] ~= '' and ARGV[8], ARGV[9], ARGV[10]
local meta_name, set_name = ARGV[1] .. ':meta:' .. key, ARGV[1] .. ':waits:user:' .. owner
local expires = deadline and {'PXAT', deadline} or {}

-- include registering.lua

local old = read(key) or known(key)
if deadline and tonumber(deadline) <= now() and expired_ttl ~= '' then
  -- A short-lived key first: a server that is out of memory refuses it, and then nothing has been changed.
  redis.call('SET', session_key(key), '', 'PX', '1')
  unroute(key, old)
  redis.call('DEL', session_key(key))
  redis.call(
    'HSET', meta_name, 'owner', owner, 'scope', scope, 'wait', stamp, 'stamp', stamp, 'place', place
  )
  -- include expiring.lua
  keep(key, owner, stamp, document, deadline, expired_ttl)
elseif scope == '' then
  redis.call('SET', session_key(key), document, unpack(expires))
  unroute(key, old)
  if string.find(key, ':', 1, true) then
    -- The key may look like one of a nested namespace: see nested.lua. A meta key shows that it is not.
    redis.call('HSET', meta_name, 'owner', owner, 'scope', '', 'wait', stamp, 'stamp', stamp)
    if deadline then redis.call('PEXPIREAT', meta_name, deadline) end
  end
else
  local others = redis.call('SRANDMEMBER', set_name, '32') -- as in put_wait.lua
  local holder, held = waiting(owner, scope)
  store_and_route(key, document, scope_key(owner, scope), old, expires)
  supersede(claim_key(owner, scope))
  if holder and holder ~= key then detach(holder, held, owner) end
  -- include listing.lua
end
return 'DONE'
