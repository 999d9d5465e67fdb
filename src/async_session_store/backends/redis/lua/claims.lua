-- Claims. A claim key holds the token of 32 characters, followed by
--   the identity of the claimed wait, of 32 bytes, and then 'adopted' if a Rust process wrote the wait, or
--   'kept' if it is kept for a worker after its deadline;
--   or by nothing, if the scope was empty.
-- When a call removes or replaces the claimed wait, the text after the token becomes 'superseded'. A kept
-- wait stays kept while another session waits at its scope, so its identity and 'kept' stay, before that
-- word.

local ADOPTED, KEPT, SUPERSEDED = 'adopted', 'kept', 'superseded'

-- Mark a claim as superseded, if one is held.
local function supersede(name)
  local claim = redis.pcall('GET', name)
  if type(claim) ~= 'string' then return end
  local rest = string.sub(claim, 65, 68) == KEPT and 68 or 32
  redis.call('SET', name, string.sub(claim, 1, rest) .. SUPERSEDED, 'KEEPTTL')
end

-- Return whether a claim is held on the wait with an identity.
local function is_held_on(name, wait)
  local claim = redis.pcall('GET', name)
  return type(claim) == 'string' and string.sub(claim, 33, 64) == wait
end
