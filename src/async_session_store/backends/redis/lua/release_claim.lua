-- End a claim and leave the wait as it is.
--
-- KEYS[1]  the claim key
-- ARGV[3]  the token of the claim
-- returns  DONE or LOST

if redis.call('HGET', KEYS[1], 'token') ~= ARGV[3] then return 'LOST' end
redis.call('DEL', KEYS[1])
return 'DONE'
