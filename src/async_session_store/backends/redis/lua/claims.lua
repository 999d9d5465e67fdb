-- Claims. A claim key holds the token, and after its 32 characters
--   the identity of the wait that was claimed, which has as many bytes, and 'adopted' if it is a wait that
--   a Rust process wrote, or 'kept' if it is kept for a worker after its deadline,
--   or nothing, if the scope was empty.
-- Once a call removed or replaced what was claimed, that becomes 'superseded'. A wait that is kept goes on
-- being kept while another session waits at its scope, so its identity stays, before that word.

local ADOPTED, KEPT, SUPERSEDED = 'adopted', 'kept', 'superseded'

-- Mark a claim, if one is held.
local function supersede(name)
  local claim = redis.pcall('GET', name)
  if type(claim) ~= 'string' then return end
  local rest = string.sub(claim, 65, 68) == KEPT and 68 or 32
  redis.call('SET', name, string.sub(claim, 1, rest) .. SUPERSEDED, 'KEEPTTL')
end

-- Whether a claim is held on the wait of an identity.
local function is_held_on(name, wait)
  local claim = redis.pcall('GET', name)
  return type(claim) == 'string' and string.sub(claim, 33, 64) == wait
end
