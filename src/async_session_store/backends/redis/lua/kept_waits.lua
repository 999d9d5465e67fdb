-- Kept waits that are no longer live waits of ours.

-- include mending.lua
-- include expiring.lua

-- Return the key that names the session that a token has claimed as an expired wait.
local function token_key(token) return namespace .. ':claim:' .. token end

-- Make a wait that was handed out due from `due` on, after all waits that were due before.
local function give_back(key, owner, due)
  local tenancy, user = tenancy_and_user(owner)
  redis.pcall('ZADD', expiring_key(tenancy), 'XX', due, user .. ':' .. key)
end

-- Return the fields of our meta key for the wait that is kept under a key, live or not, if the wait belongs
-- to an owner and, if a scope is given, waits there; else nil.
local function kept_of(key, owner, scope)
  local old = known(key)
  return old.kept and old.known == owner and (not scope or old.scope == scope) and old or nil
end

local function is_gone(key) return redis.call('EXISTS', session_key(key)) == 0 end

-- Return whether the deadline of a kept wait has passed.
local function has_passed(key, old)
  local ends = expiry(meta_key(key))
  return ends >= 0 and ends - old.kept <= now() and is_gone(key)
end

-- End a kept wait, so that it is never handed out. If its session exists, because a Rust process wrote it or
-- routed its scope to another session, the session stays.
local function end_kept(key, old)
  if is_gone(key) then
    unroute(key, old)
  else
    forget_kept(key, old)
    supersede_its_claim(old)
  end
end

-- End the kept waits of an owner, at one scope or anywhere: all of them, or only those in `keys`.
local function end_all_kept(owner, scope, keys)
  for _, key in ipairs(keys or redis.pcall('SMEMBERS', expiring_key(owner))) do
    local old = kept_of(key, owner, scope)
    if old then end_kept(key, old) end
  end
end
