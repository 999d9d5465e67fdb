-- Remove a live session and all routing to it.
--
-- KEYS[1]  its session key
-- ARGV[3]  its key
-- ARGV[4]  the viewer, or empty
-- returns  DONE, MISSING, or UNREADABLE if there is a viewer and the owner cannot be determined

-- include mending.lua

local key, viewer = ARGV[3], ARGV[4]
local session = read(key)
if not session then
  local old = known(key)
  if old.kept and sees(viewer, old.known) then
    -- include kept_waits.lua
    end_kept(key, old)
  end
  return 'MISSING'
end
if not sees(viewer, session.owner or session.known) then return 'MISSING' end
if viewer ~= '' and not (session.owner or session.known) then return 'UNREADABLE' end
unroute(key, session)
redis.call('DEL', session_key(key))
return 'DONE'
