-- Find out whether the session under `key` is as we wrote it last, so that its owner need not be read from its
-- document, and what our meta key knows of it (see sessions.lua). This makes no functions (see names.lua). A
-- stamp has 32 bytes; the number is a text, as Redis takes longer to convert a Lua number.
--
-- ARGV[1]  the namespace

local session_name, meta_name = ARGV[1] .. ':session:' .. key, ARGV[1] .. ':meta:' .. key
local meta = redis.pcall('HMGET', meta_name, 'owner', 'scope', 'stamp', 'adopted', 'kept')
local known_owner, known_scope, last_stamp, adopted, kept = meta[1], meta[2], meta[3], meta[4], meta[5]
local as_we_wrote = last_stamp and redis.pcall('GETRANGE', session_name, '-32', '-1') == last_stamp
