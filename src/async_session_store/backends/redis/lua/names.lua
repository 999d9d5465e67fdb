-- The names of keys. Creating a function takes Redis as long as a short command. So a script includes the
-- functions for its rare cases only where such a case begins.
--
-- ARGV[1]  the namespace

local namespace = ARGV[1]

local function session_key(key) return namespace .. ':session:' .. key end
local function meta_key(key) return namespace .. ':meta:' .. key end
