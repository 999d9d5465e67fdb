-- Claims. A claim key holds the token, and after its 32 characters
--   the identity of the wait that was claimed, which has as many bytes, and 'adopted' if it is a wait that
--   a Rust process wrote,
--   nothing, if the scope was empty,
--   or 'superseded', once a call removed or replaced what was claimed.

local ADOPTED, SUPERSEDED = 'adopted', 'superseded'

-- Mark a claim, if one is held.
local function supersede(name)
  local claim = redis.pcall('GET', name)
  if type(claim) ~= 'string' then return end
  redis.call('SET', name, string.sub(claim, 1, 32) .. SUPERSEDED, 'KEEPTTL')
end
