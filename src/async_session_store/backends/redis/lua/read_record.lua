-- Return a live session.
--
-- KEYS[1]  its session key
-- ARGV[3]  its key
-- returns  a record (see sessions.lua), or nothing

-- include sessions.lua

local key = ARGV[3]
local session = read(key)
return session and record(key, session, sure_route_to(key, session))
