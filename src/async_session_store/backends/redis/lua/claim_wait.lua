-- Claim the wait at the first of several scopes where one is live.
--
-- KEYS     the scope keys
-- ARGV[3]  the owner
-- ARGV[4]  the token of the claim
-- ARGV[5]  a fresh stamp, for a wait that a Rust process wrote
-- ARGV[6]  the lease in milliseconds
-- ARGV[7]  the digests of the delivery at the scopes, separated by blanks, or nothing
-- ARGV[8]  and so on: the hashes of the scopes
-- returns  {MISSING}, {DUPLICATE}, {CLAIMED}, {UNREADABLE, the key}, or {DONE, the hash of the scope,
--          a record (see sessions.lua), when the lease ends in milliseconds since the epoch}

-- include sessions.lua

local owner, token, fresh, lease, digests = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]

-- The identity of the wait at a scope.
local function identity(key, session, scope)
  if is_only_at_its_scope(session) then return session.wait end
  -- include mending.lua
  if not session.ours then
    adopt(key, owner, scope, 'claim', fresh)
    return fresh
  end
  redis.call('HSET', meta_key(key), 'scope', scope)
  -- The touch may not have known of this scope key.
  if session.adopted == 'touch' then follow_deadline(scope_key(owner, scope), key) end
  return session.wait
end

for digest in string.gmatch(digests, '%S+') do
  if redis.call('EXISTS', delivery_key(owner, digest)) == 1 then return {'DUPLICATE'} end
end

for index = 8, #ARGV do
  local scope = ARGV[index]
  local key, session = waiting(owner, scope)
  if key then
    if not session.readable then return {'UNREADABLE', key} end
    if redis.call('EXISTS', claim_key(owner, scope)) == 1 then return {'CLAIMED'} end
    local ends = deadline_after(lease)
    local wait = identity(key, session, scope)
    redis.call('HSET', claim_key(owner, scope), 'token', token, 'wait', wait)
    redis.call('PEXPIREAT', claim_key(owner, scope), ends)
    return {'DONE', scope, record(key, session, scope_key(owner, scope)), tonumber(ends)}
  end
end
return {'MISSING'}
