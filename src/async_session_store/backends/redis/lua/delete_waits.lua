-- Remove all live waits of an owner and their sessions, end the owner's expired waits, and delete the set of
-- waits with whatever else is in it.
--
-- KEYS[1]  the owner's set of waits
-- KEYS[2]  the set of the owner's kept waits (see expiring.lua)
-- ARGV[3]  the owner
-- returns  the number of live waits

-- The common case: the owner has none.
if redis.call('EXISTS', KEYS[1], KEYS[2]) == 0 then return 0 end

-- include kept_waits.lua

local owner = ARGV[3]
local waits = all_waiting(owner)
for _, wait in ipairs(waits) do clear(wait.key, wait.session, owner) end
redis.call('DEL', KEYS[1])
end_all_kept(owner)
return #waits
