-- Tell the sessions of this namespace from the keys of namespaces that are nested in it.
--
-- A scan of the namespace `a` also finds the keys of the namespace `a:session`: `a:session:meta:k` looks like
-- the session `meta:k`. So such a key counts as a session only if something else in this namespace shows that it
-- is one. See Keys.is_surely_ours.

-- include sessions.lua

local KINDS = {'session', 'meta', 'claim', 'queue', 'delivery', 'waits', 'expiring'}

local function looks_nested(key)
  if not string.find(key, ':', 1, true) then return false end
  for _, kind in ipairs(KINDS) do
    if string.find(':' .. key, ':' .. kind .. ':', 1, true) then return true end
  end
  return false
end

-- Return whether a session is one of this namespace: our meta key has its stamp, or its owner's set has its key.
local function is_of_namespace(key, session)
  if not looks_nested(key) or session.ours then return true end
  local owner = session.owner or session.known
  return owner and redis.pcall('SISMEMBER', user_key(owner), key) == 1
end
