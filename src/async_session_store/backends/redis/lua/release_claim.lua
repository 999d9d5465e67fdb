-- End a claim and leave the wait as it is, or give up a place in the queue.
--
-- KEYS[1]  the claim key
-- KEYS[2]  the queue key
-- KEYS[3]  only if the claim is on an expired wait: the key of its token (see kept_waits.lua)
-- ARGV[3]  the token of the claim
-- ARGV[4]  only if the claim is on an expired wait: the key of its session
-- ARGV[5]  likewise: the owner
-- ARGV[6]  likewise: 1 if the wait is never due again, as its copy cannot be read
-- returns  DONE or LOST

local token = ARGV[3]
local claim = redis.pcall('GET', KEYS[1])
local is_held = type(claim) == 'string' and string.sub(claim, 1, #token) == token
if is_held then redis.call('DEL', KEYS[1]) end
if is_held and KEYS[3] then
  -- include kept_waits.lua
  local key, owner = ARGV[4], ARGV[5]
  redis.call('DEL', KEYS[3])
  if known(key).wait == string.sub(claim, #token + 1, 2 * #token) then
    give_back(key, owner, ARGV[6] == '1' and expiry(meta_key(key)) or now())
  end
end
if redis.call('EXISTS', KEYS[2]) == 0 then return is_held and 'DONE' or 'LOST' end

-- include queues.lua

if not is_held and not has_place(KEYS[2], token) then return 'LOST' end
leave(KEYS[2], token)
wake_first(KEYS[2])
return 'DONE'
