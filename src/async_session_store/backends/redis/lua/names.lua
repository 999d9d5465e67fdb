-- The names of keys. To make a function, Redis takes as long as for a short command. So a script includes the
-- functions of its rare cases only once it gets to one.
--
-- ARGV[1]  the namespace

local namespace = ARGV[1]

local function session_key(key) return namespace .. ':session:' .. key end
local function meta_key(key) return namespace .. ':meta:' .. key end
