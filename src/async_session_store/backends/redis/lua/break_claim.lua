-- End the claim that is held on a scope, whoever holds it, and wake the next caller in the queue.
--
-- KEYS[1]  the claim key
-- KEYS[2]  the queue key
-- returns  1 if a claim was held, else 0

-- include queues.lua

-- A claim on an expired wait has a key of its token too. It is of no use without the claim, and expires.
local is_held = redis.call('DEL', KEYS[1])
if is_held == 1 then wake_first(KEYS[2]) end
return is_held
