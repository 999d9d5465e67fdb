-- Registering a wait where something is known of its key or its scope.

-- include mending.lua

-- Return why an owner may not register under the key of a live session, or nil.
local function refusal(before, owner)
  if before and before.owner and before.owner ~= owner then return 'FOREIGN' end
  if before and not before.readable then return 'UNREADABLE' end
  return nil
end
