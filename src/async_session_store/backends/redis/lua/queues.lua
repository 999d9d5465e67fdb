-- Queues of callers that wait for their turn at a scope. A queue is a text of tokens, of 32 characters each.
-- For each token, a key holds its ticket and the channel on which the caller listens. When that key expires,
-- the place is lost. A ticket is the time of arrival in microseconds. A caller that moves to another queue
-- keeps its ticket, and stands before all callers that arrived later. A queue of the wrong type counts as
-- empty.

local PLACE_TTL = '1000' -- milliseconds, as in abc.py
local TOKEN_LENGTH, TICKET_LENGTH = 32, 16

local function place_key(queue, token) return queue .. ':' .. token end

local function has_place(queue, token) return redis.call('EXISTS', place_key(queue, token)) == 1 end

local function new_ticket()
  local now = redis.call('TIME')
  return string.format('%010.0f%06.0f', now[1], now[2])
end

-- Return the ticket of a place, and the channel of its caller; nil if it is lost.
local function read_place(queue, token)
  local place = redis.pcall('GET', place_key(queue, token))
  if type(place) ~= 'string' then return nil end
  return string.sub(place, 1, TICKET_LENGTH), string.sub(place, TICKET_LENGTH + 1)
end

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

-- Return whether a caller that arrived earlier waits in a queue. If this caller has no ticket, all others
-- arrived earlier.
local function is_behind(queue, token, ticket)
  local first = first_in(queue)
  if not first or first == token then return false end
  local came = read_place(queue, first)
  return not ticket or not came or came < ticket
end

-- Return the tokens with another one inserted, in front of all that arrived later.
local function inserted(queue, tokens, token, ticket)
  local at = #tokens
  while at > 0 do
    local came = read_place(queue, string.sub(tokens, at - TOKEN_LENGTH + 1, at))
    if came and came < ticket then break end
    at = at - TOKEN_LENGTH
  end
  return string.sub(tokens, 1, at) .. token .. string.sub(tokens, at + 1)
end

-- Renew a token's place, or give it one. Without a ticket, a new place is the last one.
local function keep_place(queue, token, ticket, channel)
  local is_new = not has_place(queue, token)
  ticket = ticket or new_ticket()
  redis.call('SET', place_key(queue, token), ticket .. channel, 'PX', PLACE_TTL)
  if is_new then
    local _, tokens = first_in(queue)
    tokens = string.gsub(tokens, token, '')
    redis.call('SET', queue, inserted(queue, tokens, token, ticket), 'PX', PLACE_TTL)
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

-- Wake the first caller in a queue, as it may be its turn. If the server's user may not publish, the caller
-- finds out when it renews its place.
local function wake_first(queue)
  local first = first_in(queue)
  if not first then return end
  local _, channel = read_place(queue, first)
  if channel then redis.pcall('PUBLISH', channel, first) end
end
