-- The names of keys. Making a function takes Redis as long as a short command, so a script that can
-- mostly answer with a few of them includes the others only once it needs them.
--
-- ARGV[1]  the namespace

local namespace = ARGV[1]

local function session_key(key) return namespace .. ':session:' .. key end
local function meta_key(key) return namespace .. ':meta:' .. key end
