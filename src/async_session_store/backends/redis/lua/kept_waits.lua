-- Waits that are kept for a worker, once their session is gone.

-- include mending.lua
-- include expiring.lua

-- The key of a claim's token: which session was claimed with it as an expired wait.
local function token_key(token) return namespace .. ':claim:' .. token end

-- Let a wait that was handed out be due since `due`, behind all that were due before.
local function give_back(key, owner, due)
  local tenancy, user = tenancy_and_user(owner)
  redis.pcall('ZADD', expiring_key(tenancy), 'XX', due, user .. ':' .. key)
end

-- What our meta key knows of a wait whose session is gone, if it is kept for a worker; else nil.
local function kept_wait(key)
  local old = known(key)
  if not old.kept or not old.scope or old.scope == '' then return nil end
  return redis.call('EXISTS', session_key(key)) == 0 and old or nil
end

-- The wait of an identity that is kept under a key, if its deadline has passed; else nil.
local function expired_wait(key, wait, owner, scope)
  local old = #wait == STAMP_LENGTH and kept_wait(key)
  if not old or old.wait ~= wait or old.known ~= owner or old.scope ~= scope then return nil end
  local ends = expiry(meta_key(key))
  return ends >= 0 and ends - old.kept <= now() and old or nil
end

-- End the wait that is kept under a key, if it is an owner's, at one scope or anywhere.
local function end_kept(key, owner, scope)
  local old = kept_wait(key)
  if old and old.known == owner and (not scope or old.scope == scope) then unroute(key, old) end
end

-- End the waits that are kept of an owner, at one scope or anywhere.
local function end_all_kept(owner, scope)
  local keys = redis.pcall('SMEMBERS', expiring_key(owner))
  for _, key in ipairs(keys) do end_kept(key, owner, scope) end
end
