-- Remove all live waits of an owner and their sessions, the waits that are kept of the owner, and whatever
-- else is in the set of waits.
--
-- KEYS[1]  the owner's set of waits
-- ARGV[3]  the owner
-- returns  how many there were

-- include mending.lua

local owner = ARGV[3]
local waits = all_waiting(owner)
for _, wait in ipairs(waits) do clear(wait.key, wait.session, owner) end
redis.call('DEL', KEYS[1])
end_all_kept(owner)
return #waits
