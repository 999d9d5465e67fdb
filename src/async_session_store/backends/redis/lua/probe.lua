-- Try all commands of the scripts on keys that nobody else uses, and leave none of the keys behind.
--
-- KEYS[1]  a session key that nobody else uses
-- KEYS[2]  its meta key
-- ARGV[3]  its key
-- returns  for each command that the server refused: {the command, the server's message}

-- include names.lua

-- If the user may not use DEL, a key expires after these milliseconds.
local SOON = '1000'

local name, refusals = ARGV[3], {}

local function try(command, ...)
  local reply = redis.pcall(command, ...)
  if type(reply) ~= 'table' or not reply.err then return true end
  if string.find(reply.err, 'WRONGTYPE', 1, true) then return true end
  refusals[#refusals + 1] = {command, reply.err}
  return false
end

-- A user may have access to only some keys of the namespace. Like other scripts, this one is called with two
-- keys, which a cluster refuses, and builds the names of more, which some other servers refuse.
for _, key in ipairs({
  KEYS[1],
  KEYS[2],
  namespace .. ':waits:user:' .. name,
  namespace .. ':waits:scope:' .. name,
  namespace .. ':claim:' .. name,
  namespace .. ':delivery:' .. name,
  namespace .. ':queue:' .. name,
  namespace .. ':expiring:' .. name,
}) do
  try('GET', key)
  if try('SET', key, '', 'PX', SOON) then try('DEL', key) end
end

-- On a missing key, these commands change nothing.
local key = KEYS[1]
for _, call in ipairs({
  {'TIME'}, {'SCAN', '0', 'COUNT', '1'}, {'EXISTS', key}, {'MGET', key},
  {'STRLEN', key}, {'GETRANGE', key, '0', '0'},
  {'TYPE', key}, {'PTTL', key}, {'PERSIST', key}, {'PEXPIRE', key, '1'},
  {'PEXPIREAT', key, '1'},
  {'HMGET', key, 'field'},
  {'SISMEMBER', key, 'member'}, {'SMEMBERS', key}, {'SRANDMEMBER', key}, {'SSCAN', key, '0'},
  {'ZRANGE', key, '0', '0'}, {'ZSCORE', key, 'member'}, {'ZSCAN', key, '0'},
  {'HDEL', key, 'field'}, {'SREM', key, 'member'}, {'ZREM', key, 'member'}, {'DEL', key},
}) do
  try(unpack(call))
end

-- These commands would create a key that stays. So try them on a string: they refuse it as a wrong type.
if try('SET', key, '', 'PX', SOON) then
  try('APPEND', key, '')
  try('HSET', key, 'field', '')
  try('SADD', key, 'member')
  try('ZADD', key, 'LT', '0', 'member')
  try('DEL', key)
end
return refusals
