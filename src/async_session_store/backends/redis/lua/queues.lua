-- Queues of callers that wait for their turn at a scope: the tokens, of 32 characters each, and for each
-- token a key whose value is the channel on which its holder listens. A place is lost when that key
-- expires. A queue of the wrong type counts as empty.

local PLACE_TTL = '1000' -- milliseconds, as in abc.py
local TOKEN_LENGTH = 32

local function place_key(queue, token) return queue .. ':' .. token end

local function has_place(queue, token) return redis.call('EXISTS', place_key(queue, token)) == 1 end

local function tokens_in(queue)
  local tokens = redis.pcall('GET', queue)
  return type(tokens) == 'string' and tokens or ''
end

-- Return the first token in a queue, and the rest of the queue from there on; nil if nobody waits.
local function first_in(queue)
  local tokens = tokens_in(queue)
  while tokens ~= '' do
    local first = string.sub(tokens, 1, TOKEN_LENGTH)
    if has_place(queue, first) then return first, tokens end
    tokens = string.sub(tokens, TOKEN_LENGTH + 1)
  end
  return nil, ''
end

-- Renew a token's place, or give it the last one.
local function keep_place(queue, token, channel)
  local is_new = not has_place(queue, token)
  redis.call('SET', place_key(queue, token), channel, 'PX', PLACE_TTL)
  if is_new then
    local _, tokens = first_in(queue)
    redis.call('SET', queue, string.gsub(tokens, token, '') .. token, 'PX', PLACE_TTL)
  else
    redis.call('PEXPIRE', queue, PLACE_TTL)
  end
end

local function leave(queue, token)
  redis.call('DEL', place_key(queue, token))
  local tokens = string.gsub(tokens_in(queue), token, '')
  if tokens == '' then
    redis.call('DEL', queue)
  else
    redis.call('SET', queue, tokens, 'KEEPTTL')
  end
end

-- Tell the first in a queue that it may be its turn. If the user may not publish, the caller finds out
-- when it asks again.
local function wake_first(queue)
  local first = first_in(queue)
  local channel = first and redis.pcall('GET', place_key(queue, first))
  if type(channel) == 'string' then redis.pcall('PUBLISH', channel, first) end
end
