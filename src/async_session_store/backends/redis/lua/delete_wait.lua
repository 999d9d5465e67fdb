-- Remove the wait at a scope and its session, and end the expired waits there.
--
-- KEYS[1]  the scope key
-- KEYS[2]  the owner's set of waits
-- KEYS[3]  the claim key of the scope
-- KEYS[4]  the set of the owner's kept waits (see expiring.lua)
-- ARGV[3]  the owner
-- ARGV[4]  the hash of the scope
-- ARGV[5]  only if this session waits there; may be left out
-- returns  1 if there was a live wait, else 0

local owner, scope, expected = ARGV[3], ARGV[4], ARGV[5]

-- The common case: the scope has no route, or one to a session that is as we wrote it, no claim is held, and
-- no wait of the owner is kept.
local key = redis.call('GET', KEYS[1])
local is_wanted = key and (not expected or expected == key)
if is_wanted then
  -- include written.lua
  if as_we_wrote and known_owner == owner and known_scope == scope
    and redis.call('EXISTS', KEYS[3], KEYS[4]) == 0 then
    redis.pcall('SREM', KEYS[2], key)
    redis.call('DEL', session_name, meta_name, KEYS[1])
    return 1
  end
elseif redis.call('EXISTS', KEYS[4]) == 0 then
  return 0
end

-- include kept_waits.lua

end_all_kept(owner, scope, expected and {expected})
local session
key, session = waiting(owner, scope)
if not is_wanted or not key then return 0 end
clear(key, session, owner)
redis.call('DEL', KEYS[1])
supersede(KEYS[3])
return 1
