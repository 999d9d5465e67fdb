-- Move the deadline of a live session and of its wait.
--
-- KEYS[1]  its session key
-- ARGV[3]  its key
-- ARGV[4]  the viewer, or nothing
-- ARGV[5]  the time to live in milliseconds, or nothing for no deadline
-- returns  DONE, MISSING, or UNREADABLE if there is a viewer and the owner cannot be told

-- include sessions.lua

local key, viewer, deadline = ARGV[3], ARGV[4], deadline_after(ARGV[5])
local session = read(key)
if not session or not sees(viewer, session.owner or session.known) then return 'MISSING' end
if viewer ~= '' and not (session.owner or session.known) then return 'UNREADABLE' end
set_deadline(session_key(key), deadline)
local route, owner = route_to(key, session), not session.ours and session.owner
if route then
  set_deadline(route, deadline)
elseif owner and redis.call('SISMEMBER', user_key(owner), key) == 1 then
  -- A wait of a Rust process: who looks it up by its scope knows the route, and sees to it.
  redis.call('HSET', meta_key(key), 'new_deadline', redis.sha1hex(document_of(key)))
end
set_deadline(meta_key(key), deadline)
return 'DONE'
