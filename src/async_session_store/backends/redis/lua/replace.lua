-- Replace the document of a live session; its routing and its deadline stay.
--
-- KEYS[1]  its session key
-- ARGV[3]  its key
-- ARGV[4]  the viewer, or nothing
-- ARGV[5]  the owner of the new document
-- ARGV[6]  the new document
-- ARGV[7]  its SHA-1
-- ARGV[8]  only if this is the SHA-1 of the stored document, or nothing
-- returns  DONE, MISSING, FOREIGN, UNREADABLE or CHANGED

local key, viewer, owner, document, digest = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local session = read(key)
if not session or not sees(viewer, session.owner or session.known) then return 'MISSING' end
if session.owner and session.owner ~= owner then return 'FOREIGN' end
if not session.readable then return 'UNREADABLE' end
if ARGV[8] ~= '' and ARGV[8] ~= redis.sha1hex(session.document) then return 'CHANGED' end
restore_deadline(key, session, route_to(key, session))
redis.call('SET', session_key(key), document, 'KEEPTTL')
if session.ours then redis.call('HSET', meta_key(key), 'digest', digest) end
if has_new_deadline(session) then redis.call('HSET', meta_key(key), 'new_deadline', digest) end
return 'DONE'
