-- Move the deadline of a live session and of its wait.
--
-- KEYS[1]  its session key
-- ARGV[3]  its key
-- ARGV[4]  the viewer, or empty
-- ARGV[5]  the time to live in milliseconds, or empty for no deadline
-- ARGV[6]  a fresh stamp, for a wait that a Rust process wrote
-- returns  DONE, MISSING, or UNREADABLE if there is a viewer and the owner cannot be determined

-- include mending.lua

local key, viewer, deadline, fresh = ARGV[3], ARGV[4], deadline_after(ARGV[5]), ARGV[6]
local session = read(key)
if not session or not sees(viewer, session.owner or session.known) then return 'MISSING' end
if viewer ~= '' and not (session.owner or session.known) then return 'UNREADABLE' end

local route = route_to(key, session)
if session.ours then
  if session.adopted then redis.call('HSET', meta_key(key), 'adopted', 'touch') end
elseif session.readable and redis.pcall('SISMEMBER', user_key(session.owner), key) == 1 then
  -- A Rust process may have routed a scope that we do not know. The next claim moves its deadline.
  adopt(key, session, session.owner, route and session.scope or '', 'touch', fresh)
end
set_deadline(session_key(key), deadline)
if not session.ours then forget_kept(key, session) end
if session.ours and session.kept and deadline then
  -- include expiring.lua
  keep_after(deadline, session.kept, key, session.known)
else
  set_deadline(meta_key(key), deadline)
  -- The copy of a kept wait stays, as a later touch may give it a deadline again.
  delist_kept(key, session)
end
if route then set_deadline(route, deadline) end
return 'DONE'
