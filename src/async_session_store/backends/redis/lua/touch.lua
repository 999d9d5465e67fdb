-- Move the deadline of a live session and of its wait.
--
-- KEYS[1]  its session key
-- ARGV[3]  its key
-- ARGV[4]  the viewer, or nothing
-- ARGV[5]  the time to live in milliseconds, or nothing for no deadline
-- returns  DONE, MISSING, or UNREADABLE if there is a viewer and the owner cannot be told

local key, viewer, deadline = ARGV[3], ARGV[4], deadline_after(ARGV[5])
local session = read(key)
if not session or not sees(viewer, session.owner or session.known) then return 'MISSING' end
if viewer ~= '' and not (session.owner or session.known) then return 'UNREADABLE' end
set_deadline(session_key(key), deadline)
local route = route_to(key, session)
if route then set_deadline(route, deadline) end
set_deadline(meta_key(key), deadline)
return 'DONE'
