-- What is at each of several scopes. It mends nothing of what it finds.
--
-- KEYS     the scope keys
-- ARGV[3]  and so on: for each scope its owner and its hash
-- returns  for each scope {the key of the session that waits there or nothing, 1 if its document can
--          be read, when it expires, when the claim on the scope ends}; times in milliseconds since
--          the epoch, negative if there is none

-- include sessions.lua

-- A Rust process that updates a session drops its deadline; the scope key still has it.
local function wait_expiry(key, route)
  local own = expiry(session_key(key))
  return own < 0 and expiry(route) or own
end

local states = {}
for index = 3, #ARGV, 2 do
  local owner, scope = ARGV[index], ARGV[index + 1]
  local claim_end = expiry(claim_key(owner, scope))
  local key, session = routed(owner, scope)
  if session then
    local readable = session.readable and 1 or 0
    local wait_end = wait_expiry(key, scope_key(owner, scope))
    states[#states + 1] = {key, readable, wait_end, claim_end}
  else
    states[#states + 1] = {false, 0, -1, claim_end}
  end
end
return states
