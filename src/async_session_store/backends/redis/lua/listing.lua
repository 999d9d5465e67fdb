-- Record where a session waits from now on, and list it among its owner's waits. This creates no functions
-- (see names.lua).
--
-- needs    key, owner, scope, stamp, place: of the wait; meta_name, set_name: the names of the keys;
--          deadline: see deadline.lua; others: some members of the set; document; expired_ttl: for how
--          many milliseconds the wait is kept for a worker after its deadline, or empty

redis.call(
  'HSET', meta_name, 'owner', owner, 'scope', scope, 'wait', stamp, 'stamp', stamp, 'place', place
)
if expired_ttl ~= '' then
  -- Redis deletes a key immediately if its new deadline has passed, by a clock that runs on even though time
  -- stands still for the script. So the meta key gets only the later deadline, never first the earlier one.
  -- include expiring.lua
  keep(key, owner, stamp, document, deadline, expired_ttl)
elseif deadline then
  redis.call('PEXPIREAT', meta_name, deadline)
end

local names = {}
for index, other in ipairs(others) do names[index] = ARGV[1] .. ':session:' .. other end
if #names > 0 and redis.call('EXISTS', unpack(names)) < #names then
  for index, other in ipairs(others) do
    if redis.call('EXISTS', names[index]) == 0 then redis.call('SREM', set_name, other) end
  end
end
redis.call('SADD', set_name, key)
