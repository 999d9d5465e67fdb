-- Return the state of each of several scopes.
--
-- KEYS     the scope keys
-- ARGV[3]  and so on: for each scope its owner and its hash
-- returns  for each scope {the key of the session that waits there or nothing, 1 if its document can
--          be read, when it expires, when the claim on the scope ends}; times are in milliseconds since
--          the epoch, negative if there is none

-- include sessions.lua

local states = {}
for index = 3, #ARGV, 2 do
  local owner, scope = ARGV[index], ARGV[index + 1]
  local claim_end = expiry(claim_key(owner, scope))
  local key, session = waiting(owner, scope)
  if key then
    local readable = session.readable and 1 or 0
    local ends = wait_end(key, session, scope_key(owner, scope))
    states[#states + 1] = {key, readable, ends, claim_end}
  else
    states[#states + 1] = {false, 0, -1, claim_end}
  end
end
return states
