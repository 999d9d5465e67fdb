-- Store a session and route a scope to it.
--
-- KEYS[1]  its session key
-- KEYS[2]  the scope key
-- ARGV[3]  its key
-- ARGV[4]  the owner of the document and of the wait
-- ARGV[5]  the hash of the scope
-- ARGV[6]  the document
-- ARGV[7]  the stamp that it ends in, which is the identity of the wait too
-- ARGV[8]  the time to live in milliseconds, or nothing for no deadline
-- ARGV[9]  1 to register only if no live wait is at the scope
-- returns  {DONE, FOREIGN, UNREADABLE or TAKEN; the key of the session it displaced, or nothing}

-- include names.lua

-- How many members of the user's set are looked at, to drop those whose session is gone.
local SAMPLE = 32

local function drop_stale(owner, members)
  local keys = {}
  for index, member in ipairs(members) do keys[index] = session_key(member) end
  if #keys == 0 or redis.call('EXISTS', unpack(keys)) == #keys then return end
  for index, member in ipairs(members) do
    if redis.call('EXISTS', keys[index]) == 0 then redis.call('SREM', user_key(owner), member) end
  end
end

local key, owner, scope, document, stamp = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local deadline, only_if_absent = deadline_after(ARGV[8]), ARGV[9] == '1'

-- What leads to the session, once its document is stored.
local function route()
  set(scope_key(owner, scope), key, deadline)
  redis.call('HSET', meta_key(key), 'owner', owner, 'scope', scope, 'wait', stamp, 'stamp', stamp)
  if deadline then redis.call('PEXPIREAT', meta_key(key), deadline) end
  drop_stale(owner, redis.call('SRANDMEMBER', user_key(owner), SAMPLE))
  redis.call('SADD', user_key(owner), key)
end

-- Mostly nothing is known of the key, and nothing waits at the scope.
if redis.call('EXISTS', KEYS[1], KEYS[2], meta_key(key)) == 0 then
  set(KEYS[1], document, deadline)
  route()
  return {'DONE', false}
end

-- include sessions.lua

local before = read(key)
if before then
  if before.owner and before.owner ~= owner then return {'FOREIGN', false} end
  if not before.readable then return {'UNREADABLE', false} end
end

local holder, held = routed(owner, scope)
if held and only_if_absent then return {'TAKEN', false} end

-- First what a server that is out of memory refuses: so all is done, or nothing.
set(session_key(key), document, deadline)
unroute(key, before or known(key))
local detached = held and holder ~= key and holder
if detached then
  restore_deadline(detached, held, scope_key(owner, scope))
  unroute(detached, held)
end
route()
return {'DONE', detached or false}
