-- Erase sessions and expired waits if they are a user's, in whichever team of a tenant.
--
-- ARGV[3]  the environment and the tenant: env:tenant
-- ARGV[4]  the user

-- include kept_waits.lua

local tenancy, user = ARGV[3], ARGV[4]
local waits, sessions, expired_waits = 0, 0, 0 -- how many were erased
local parsed = 0 -- bytes of documents of other programs

local function is_theirs(owner)
  if not owner then return false end
  local found_tenancy, found_user = string.match(owner, '^([^:]*:[^:]*):[^:]*:([^:]*)$')
  return found_tenancy == tenancy and found_user == user
end

local function count_live(key, session)
  local waits_somewhere = session.scope and session.scope ~= ''
  if not is_only_at_its_scope(session) then
    local owner = session.owner or session.known
    waits_somewhere = redis.pcall('SISMEMBER', user_key(owner), key) == 1
  end
  if waits_somewhere then waits = waits + 1 else sessions = sessions + 1 end
end

-- Erase what is stored under a session's key, if it is the user's.
local function erase(key)
  local session = read(key)
  local old = session or known(key)
  if session and not session.ours then
    local size = redis.pcall('STRLEN', session_key(key))
    if type(size) == 'number' then parsed = parsed + math.min(size, LARGEST_WHOLE) end
  end
  if session and is_theirs(session.owner or session.known) then
    count_live(key, session)
    unroute(key, session)
    redis.call('DEL', session_key(key))
  elseif is_theirs(old.known) then
    -- The session is gone, or a Rust process has given its key to another owner.
    if not session and old.kept and has_passed(key, old) then expired_waits = expired_waits + 1 end
    unroute(key, known(key))
  end
end
