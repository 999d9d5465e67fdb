-- Store a session and route a scope to it.
--
-- KEYS[1]  its session key
-- KEYS[2]  the scope key
-- KEYS[3]  its meta key
-- KEYS[4]  the owner's set of waits
-- ARGV[3]  its key
-- ARGV[4]  the owner of the document and of the wait
-- ARGV[5]  the hash of the scope
-- ARGV[6]  the document
-- ARGV[7]  the stamp that it ends in, which is the identity of the wait too
-- ARGV[8]  the time to live in milliseconds, or nothing for no deadline
-- ARGV[9]  1 to register only if no live wait is at the scope
-- returns  {DONE, FOREIGN, UNREADABLE or TAKEN; the key of the session it displaced, or nothing}

-- How many members of the owner's set are looked at, to drop those whose session is gone.
local SAMPLE = '32'

local key, owner, scope, document, stamp = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local deadline, expires, detached = nil, {}, false
if ARGV[8] ~= '' then
  local time = redis.call('TIME')
  deadline = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[8])
  expires = {'PXAT', deadline}
end

-- Before the first write, as it fails if the key is not a set.
local others, names = redis.call('SRANDMEMBER', KEYS[4], SAMPLE), {}

-- Mostly nothing is known of the key, and nothing waits at the scope.
if redis.call('EXISTS', KEYS[1], KEYS[2], KEYS[3]) == 0 then
  redis.call('SET', KEYS[1], document, unpack(expires))
  redis.call('SET', KEYS[2], key, unpack(expires))
else
  -- include mending.lua
  local before = read(key)
  if before then
    if before.owner and before.owner ~= owner then return {'FOREIGN', false} end
    if not before.readable then return {'UNREADABLE', false} end
  end
  local holder, held = waiting(owner, scope)
  if holder and ARGV[9] == '1' then return {'TAKEN', false} end
  local old = before or known(key)

  redis.call('SET', KEYS[1], document, unpack(expires))
  unroute(key, old)
  redis.call('SET', KEYS[2], key, unpack(expires))
  if holder and holder ~= key then
    detached = holder
    detach(holder, held, owner)
  end
end

redis.call('HSET', KEYS[3], 'owner', owner, 'scope', scope, 'wait', stamp, 'stamp', stamp)
if deadline then redis.call('PEXPIREAT', KEYS[3], deadline) end

for index, other in ipairs(others) do names[index] = ARGV[1] .. ':session:' .. other end
if #names > 0 and redis.call('EXISTS', unpack(names)) < #names then
  for index, other in ipairs(others) do
    if redis.call('EXISTS', names[index]) == 0 then redis.call('SREM', KEYS[4], other) end
  end
end
redis.call('SADD', KEYS[4], key)
return {'DONE', detached}
