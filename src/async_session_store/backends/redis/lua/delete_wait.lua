-- Remove the wait at a scope and its session.
--
-- KEYS[1]  the scope key
-- ARGV[3]  the owner
-- ARGV[4]  the hash of the scope
-- ARGV[5]  only if this session waits there, or nothing
-- returns  1 if there was a live wait, else 0

local owner, scope_hash, expected = ARGV[3], ARGV[4], ARGV[5]
local key, session = waiting(owner, scope_hash)
if not key or (expected ~= '' and expected ~= key) then return 0 end
-- Where the document does not tell whose it is, our meta key may.
local known = session.owner or redis.call('HGET', meta_key(key), 'owner')
unroute(key, owner)
redis.call('DEL', scope_key(owner, scope_hash))
if known == owner then redis.call('DEL', session_key(key)) end
return 1
