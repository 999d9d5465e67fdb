-- Claim the wait at the first of several scopes where one is live.
--
-- KEYS     the scope keys
-- ARGV[3]  the owner
-- ARGV[4]  the token of the claim
-- ARGV[5]  an identity for a wait that has none of ours
-- ARGV[6]  the lease in milliseconds
-- ARGV[7]  the digests of the delivery at the scopes, with a blank between them, or nothing
-- ARGV[8]  and so on: the hashes of the scopes
-- returns  {MISSING}, {DUPLICATE}, {CLAIMED}, {UNREADABLE, the key}, or {DONE, the hash of the scope,
--          a record (see sessions.lua), when the lease ends in milliseconds since the epoch}

-- include sessions.lua

local owner, token, fresh, lease, digests = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]

-- The identity of a wait. One that a Rust process wrote becomes ours to know, as it is.
local function identity(key, session, scope)
  if session.wait and session.scope == scope and untouched(key, session) then return session.wait end
  redis.call('HSET', meta_key(key), 'owner', owner, 'scope', scope, 'wait', fresh)
  if not session.ours then
    redis.call('HSET', meta_key(key), 'digest', redis.sha1hex(document_of(key)))
  end
  local left = redis.call('PTTL', session_key(key))
  if left == -1 then
    redis.call('PERSIST', meta_key(key))
  else
    redis.call('PEXPIRE', meta_key(key), left)
  end
  return fresh
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
    local lease_end = deadline_after(lease)
    local wait = identity(key, session, scope)
    redis.call('HSET', claim_key(owner, scope), 'token', token, 'wait', wait)
    redis.call('PEXPIREAT', claim_key(owner, scope), lease_end)
    return {'DONE', scope, record(key, session), tonumber(lease_end)}
  end
end
return {'MISSING'}
