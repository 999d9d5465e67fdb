-- Read the fields of our meta key for the session under `key` (see sessions.lua), and check whether its
-- document is as we wrote it last. If it is, the owner need not be read from the document. This creates no
-- functions (see names.lua). A stamp has 32 bytes; the offsets are texts, as Redis takes longer to convert
-- Lua numbers.
--
-- ARGV[1]  the namespace

local session_name, meta_name = ARGV[1] .. ':session:' .. key, ARGV[1] .. ':meta:' .. key
local meta = redis.pcall('HMGET', meta_name, 'owner', 'scope', 'stamp', 'adopted', 'kept')
local known_owner, known_scope, last_stamp, adopted, kept = meta[1], meta[2], meta[3], meta[4], meta[5]
local as_we_wrote = last_stamp and redis.pcall('GETRANGE', session_name, '-32', '-1') == last_stamp
