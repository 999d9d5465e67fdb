-- Compare the etag of a session's document with one that a caller has read.

-- include sessions.lua

-- Return whether an etag is the stored document's: its stamp, or, for a document that we did not write, the
-- SHA-1 that it had before a claim or a touch stamped it.
local function is_etag(key, session, etag)
  if #etag == STAMP_LENGTH then return etag == stamp_of(key) end
  local stored = document_of(key)
  if session.ours and session.adopted then stored = string.sub(stored, 1, -STAMP_LENGTH - 1) end
  return etag == redis.sha1hex(stored)
end
