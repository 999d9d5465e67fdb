-- Renew the lease of a claim.
--
-- KEYS[1]  the claim key
-- ARGV[3]  the token of the claim
-- ARGV[4]  the lease in milliseconds
-- returns  when the lease ends in milliseconds since the epoch, or nothing if the claim is lost

-- include clock.lua

local token, claim = ARGV[3], redis.pcall('GET', KEYS[1])
if type(claim) ~= 'string' or string.sub(claim, 1, #token) ~= token then return false end
local lease_end = deadline_after(ARGV[4])
redis.call('PEXPIREAT', KEYS[1], lease_end)
return tonumber(lease_end)
