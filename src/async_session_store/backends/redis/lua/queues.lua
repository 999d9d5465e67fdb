-- Queues of those who wait for their turn at a scope: a list of tokens, and for each token a key whose
-- value is the channel on which its holder listens. A place is lost when that key expires.
--
-- A queue of the wrong type counts as empty. Nobody can wait there.

local PLACE_TTL = '1000' -- milliseconds, as in abc.py

local function place_key(queue, token) return queue .. ':' .. token end

local function has_place(queue, token) return redis.call('EXISTS', place_key(queue, token)) == 1 end

-- The token that is first in a queue, or nil. Drops the lost places before it.
local function first_in(queue)
  while true do
    local first = redis.pcall('LINDEX', queue, '0')
    if type(first) ~= 'string' then return nil end
    if has_place(queue, first) then return first end
    redis.call('LPOP', queue)
  end
end

-- Renew a token's place, or give it the last one.
local function keep_place(queue, token, channel)
  if not has_place(queue, token) then
    redis.call('LREM', queue, '0', token)
    redis.call('RPUSH', queue, token)
  end
  redis.call('SET', place_key(queue, token), channel, 'PX', PLACE_TTL)
  redis.call('PEXPIRE', queue, PLACE_TTL)
end

local function leave(queue, token)
  redis.call('DEL', place_key(queue, token))
  redis.pcall('LREM', queue, '1', token)
end

-- Tell the first in a queue that it may be its turn. A user who may not publish does not: then the one
-- who waits finds out when it looks again.
local function wake_first(queue)
  local first = first_in(queue)
  local channel = first and redis.pcall('GET', place_key(queue, first))
  if type(channel) == 'string' then redis.pcall('PUBLISH', channel, first) end
end
