-- Replace the document of a live session. Its routing and its deadline stay.
--
-- KEYS[1]  its session key
-- ARGV[3]  its key
-- ARGV[4]  the viewer, or empty
-- ARGV[5]  the owner of the new document
-- ARGV[6]  the new document
-- ARGV[7]  the stamp that it ends in
-- ARGV[8]  the stamp or the SHA-1 that the stored document must have, or empty
-- returns  DONE, MISSING, FOREIGN, UNREADABLE or CHANGED

local key, viewer, owner, document, stamp = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local expected = ARGV[8]

-- The common case: there is no viewer, and the session is as we wrote it.
-- include written.lua
if as_we_wrote and viewer == '' and known_owner == owner and not adopted
  and (expected == '' or expected == last_stamp)
  and redis.call('STRLEN', KEYS[1]) <= ARGV[2] + #last_stamp then
  redis.call('SET', KEYS[1], document, 'KEEPTTL')
  redis.call('HSET', meta_name, 'stamp', stamp)
  if kept then redis.call('HSET', meta_name, 'copy', document) end -- see expiring.lua
  return 'DONE'
end

-- include mending.lua
-- include etags.lua

local session = read(key)
if not session or not sees(viewer, session.owner or session.known) then return 'MISSING' end
if session.owner and session.owner ~= owner then return 'FOREIGN' end
if not session.readable then return 'UNREADABLE' end
if expected ~= '' and not is_etag(key, session, expected) then return 'CHANGED' end
local deadline = wait_end(key, session, sure_route_to(key, session))
redis.call('SET', session_key(key), document, 'KEEPTTL')
if session.ours then redis.call('HSET', meta_key(key), 'stamp', stamp) end
if session.ours and session.kept then
  redis.call('HSET', meta_key(key), 'copy', document)
else
  forget_kept(key, session)
end
if deadline >= 0 and redis.call('PTTL', session_key(key)) == -1 then
  -- A Rust process has dropped the deadline. We are the last writer now, so it holds again (T3, T4).
  set_deadline(session_key(key), string.format('%.0f', deadline))
  if session.ours then follow_deadline(meta_key(key), key) end
end
return 'DONE'
