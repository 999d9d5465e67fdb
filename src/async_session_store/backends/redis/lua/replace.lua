-- Replace the document of a live session; its routing and its deadline stay.
--
-- KEYS[1]  its session key
-- ARGV[3]  its key
-- ARGV[4]  the viewer, or nothing
-- ARGV[5]  the owner of the new document
-- ARGV[6]  the new document
-- ARGV[7]  the stamp that it ends in
-- ARGV[8]  only if the stored document ends in this stamp or has this SHA-1, or nothing
-- returns  DONE, MISSING, FOREIGN, UNREADABLE or CHANGED

local key, viewer, owner, document, stamp = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local expected = ARGV[8]

local function is_expected()
  return expected == '' or expected == ending(key, #stamp)
    or expected == redis.sha1hex(document_of(key))
end

local session = read(key)
if not session or not sees(viewer, session.owner or session.known) then return 'MISSING' end
if session.owner and session.owner ~= owner then return 'FOREIGN' end
if not session.readable then return 'UNREADABLE' end
if not is_expected() then return 'CHANGED' end
restore_deadline(key, session)
local is_known = untouched(key, session)
redis.call('SET', session_key(key), document, 'KEEPTTL')
if is_known then redis.call('HSET', meta_key(key), 'stamp', stamp) end
return 'DONE'
