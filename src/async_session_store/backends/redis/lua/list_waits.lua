-- Return the keys of all live waits of an owner.
--
-- KEYS[1]  the owner's set of waits
-- ARGV[3]  the owner
-- returns  {{key, ...}, {the key of a session whose owner cannot be determined, ...}}

-- include sessions.lua

local found, unreadable = {}, {}
for _, wait in ipairs(all_waiting(ARGV[3])) do
  local keys = wait.session.owner and found or unreadable
  keys[#keys + 1] = wait.key
end
return {found, unreadable}
