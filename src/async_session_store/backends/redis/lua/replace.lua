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

-- Mostly everyone may see the session, and it is as we wrote it.
-- include written.lua
if as_we_wrote and viewer == '' and known_owner == owner and not new_deadline
  and (expected == '' or expected == last_stamp)
  and redis.call('STRLEN', KEYS[1]) <= ARGV[2] + #last_stamp then
  redis.call('SET', KEYS[1], document, 'KEEPTTL')
  redis.call('HSET', meta_name, 'stamp', stamp)
  return 'DONE'
end

-- include sessions.lua

local session = read(key)
if not session or not sees(viewer, session.owner or session.known) then return 'MISSING' end
if session.owner and session.owner ~= owner then return 'FOREIGN' end
if not session.readable then return 'UNREADABLE' end
if expected ~= '' and not is_document(key, expected) then return 'CHANGED' end
restore_deadline(key, session)
local is_known = untouched(key, session)
local has_new_deadline = session.new_deadline and is_document(key, session.new_deadline)
redis.call('SET', session_key(key), document, 'KEEPTTL')
if is_known then redis.call('HSET', meta_key(key), 'stamp', stamp) end
if has_new_deadline then redis.call('HSET', meta_key(key), 'new_deadline', stamp) end
return 'DONE'
