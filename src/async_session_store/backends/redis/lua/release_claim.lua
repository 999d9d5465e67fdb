-- End a claim and leave the wait as it is, or give up a place in the queue.
--
-- KEYS[1]  the claim key
-- KEYS[2]  the queue key
-- ARGV[3]  the token of the claim
-- returns  DONE or LOST

local token = ARGV[3]
local claim = redis.pcall('GET', KEYS[1])
local is_held = type(claim) == 'string' and string.sub(claim, 1, #token) == token
if is_held then redis.call('DEL', KEYS[1]) end
if redis.call('EXISTS', KEYS[2]) == 0 then return is_held and 'DONE' or 'LOST' end

-- include queues.lua

if not is_held and not has_place(KEYS[2], token) then return 'LOST' end
leave(KEYS[2], token)
wake_first(KEYS[2])
return 'DONE'
