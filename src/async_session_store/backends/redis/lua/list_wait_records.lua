-- Return the records of all live waits of an owner.
--
-- KEYS[1]  the owner's set of waits
-- ARGV[3]  the owner
-- returns  a list of records (see sessions.lua)

-- include sessions.lua

local records = {}
for _, wait in ipairs(all_waiting(ARGV[3])) do
  records[#records + 1] = record(wait.key, wait.session, sure_route_to(wait.key, wait.session))
end
return records
