-- Claim expired waits, the longest overdue first.
--
-- KEYS[1]  the index of due times of the waits within the fence (see expiring.lua)
-- ARGV[3]  the fence: an owner, a tenancy (env:tenant:team), or empty for everything
-- ARGV[4]  the lease in milliseconds
-- ARGV[5]  and so on: the tokens, one for each claim
-- returns  {1 if it stopped early after it dropped many outdated entries, {claimed, ...}}; each claimed item is
--          {the token, the owner, the hash of the scope, when the lease ends, 1 if another session waits at
--          the scope, the items of a record (see sessions.lua)}

local fence, lease = ARGV[3], ARGV[4]
local is_one_owner = string.find(fence, '^[^:]*:[^:]*:[^:]*:')

-- The common case: nothing is due.
local time = redis.call('TIME')
time = time[1] * 1000 + math.floor(time[2] / 1000)
local latest = string.format('%.0f', time)
local entries = {} -- if the fence is one owner: {the owner, the session's key, when it is due or nil}
if is_one_owner then
  local tenancy, user = string.match(fence, '^(.*):(.-)$')
  for _, key in ipairs(redis.pcall('SMEMBERS', KEYS[1])) do
    local score = redis.pcall('ZSCORE', ARGV[1] .. ':expiring:' .. tenancy, user .. ':' .. key)
    local due = type(score) == 'string' and tonumber(score)
    if not due or due <= time then entries[#entries + 1] = {fence, key, due} end
  end
  if #entries == 0 then return {0, {}} end
elseif #redis.pcall('ZRANGE', KEYS[1], '-inf', latest, 'BYSCORE', 'LIMIT', '0', '1') == 0 then
  return {0, {}}
end

-- include kept_waits.lua
-- include queues.lua

local MAX_DROPPED = 1000 -- the server answers nobody else while the script runs
local BATCH = 64

local claimed, dropped = {}, 0

local function queue_key(owner, scope) return namespace .. ':queue:' .. owner .. ':' .. scope end

local function is_within_fence(owner)
  return fence == '' or owner == fence or string.sub(owner, 1, #fence + 1) == fence .. ':'
end

local function is_owner(text)
  return string.find(text, '^[%w._-]+:[%w._-]+:[%w._-]+:[%w._-]+$') ~= nil
end

-- Return whether a kept wait can be claimed. An older version of this library left the entries of detached
-- sessions.
local function can_be_claimed(kept)
  return kept.kept and is_owner(kept.known) and kept.scope and kept.scope ~= ''
end

local function add(token, key, kept)
  local document = redis.call('HMGET', meta_key(key), 'copy')[1]
  claimed[#claimed + 1] = {
    token, kept.known, kept.scope, expiry(claim_key(kept.known, kept.scope)),
    waiting(kept.known, kept.scope) and 1 or 0,
    key, document, expiry(meta_key(key)) - kept.kept, kept.known, kept.place,
  }
end

-- Return the tokens that hold no claim yet. A caller that was cancelled asks again with the same tokens, and
-- gets the waits that it has claimed already.
local function unused_tokens()
  local tokens = {}
  for index = 5, #ARGV do
    local token = ARGV[index]
    local key = redis.call('GET', token_key(token))
    local kept = key and known(key)
    local claim = kept and can_be_claimed(kept) and redis.pcall('GET', claim_key(kept.known, kept.scope))
    if type(claim) == 'string' and is_gone(key) and is_within_fence(kept.known)
      and string.sub(claim, 1, #token + STAMP_LENGTH) == token .. kept.wait then
      add(token, key, kept)
    else
      tokens[#tokens + 1] = token
    end
  end
  return tokens
end

local tokens = unused_tokens()

-- Return whether we were the last to write the session of a kept wait.
local function is_ours(key, old)
  return redis.pcall('GETRANGE', session_key(key), -STAMP_LENGTH, -1) == old.stamp
end

-- Drop an index entry. This uses call, not pcall, so that a server that takes no writes refuses the script.
-- Otherwise the caller would ask again forever. The directory is corrected at the end.
local function drop(key, owner)
  if is_one_owner then
    redis.call('SREM', KEYS[1], key)
  else
    local tenancy, user = tenancy_and_user(owner)
    redis.call('ZREM', expiring_key(tenancy), user .. ':' .. key)
  end
  remove_entry(key, owner)
  dropped = dropped + 1
  return false
end

-- Claim a wait that is due according to the index, if possible. Return whether its entry stays in place.
local function consider(key, owner, due)
  -- The common case while workers are busy: it is already claimed.
  local scope = redis.pcall('HMGET', meta_key(key), 'scope')[1]
  local claim = claim_key(owner, scope or '')
  if redis.call('EXISTS', claim) == 1 then return true end
  local kept = known(key)
  if kept.known ~= owner or not can_be_claimed(kept) then return drop(key, owner) end
  if not is_gone(key) then
    local ends = expiry(session_key(key))
    -- A key lives until the end of the millisecond of its deadline, and time stands still in a script.
    if ends >= 0 and ends <= due then return true end
    if ends < 0 or not is_ours(key, kept) then return drop(key, owner) end -- a Rust process has written it
    -- An older version of this library has moved the deadline of the session and of our meta key.
    keep_after(ends, kept.kept, key, owner)
    return false
  end
  if first_in(queue_key(owner, kept.scope)) then return true end
  -- A scope key of the wrong type is left alone, as a claim on it could not be completed.
  if type(redis.pcall('GET', scope_key(owner, kept.scope))) == 'table' then return true end
  local token = table.remove(tokens, 1)
  redis.call('SET', claim, token .. kept.wait .. KEPT, 'PX', lease)
  redis.call('SET', token_key(token), key, 'PX', lease)
  add(token, key, kept)
  return true
end

-- Sources of due entries, the earliest first: {owner, key, due}.
local function owners_entries(owner)
  local due = {}
  for _, entry in ipairs(entries) do
    if entry[3] then due[#due + 1] = entry else drop(entry[2], owner) end
  end
  table.sort(due, function(one, other) return one[3] < other[3] end)
  return {entries = due, at = 1, tenancy = tenancy_and_user(owner)}
end

local function tenancys_entries(tenancy) return {entries = {}, at = 1, tenancy = tenancy, passed = 0} end

-- Return the next entry of a source, or nil.
local function head(source)
  while source.at > #source.entries and source.passed and dropped < MAX_DROPPED do
    local found = redis.pcall(
      'ZRANGE', expiring_key(source.tenancy), '-inf', latest, 'BYSCORE', 'LIMIT', source.passed, BATCH,
      'WITHSCORES'
    )
    source.entries, source.at = {}, 1
    for index = 1, #found, 2 do
      local user, key = string.match(found[index], '^(.-):(.*)$')
      if user then
        source.entries[#source.entries + 1] = {
          source.tenancy .. ':' .. user, key, tonumber(found[index + 1]),
        }
      else
        redis.call('ZREM', expiring_key(source.tenancy), found[index]) -- another program wrote it
        dropped = dropped + 1
      end
    end
    if #found == 0 then source.passed = nil end
  end
  return source.entries[source.at]
end

local function advance(source, stays)
  source.at = source.at + 1
  if stays and source.passed then source.passed = source.passed + 1 end
end

-- The sources that have entries left, the longest overdue last, and the tenancies that were opened. The
-- directory is read in the order of its lower bounds. It is corrected only at the end, so that its order does
-- not change while it is read.
local sources, opened = {}, {}
local directory, directory_at = {}, 1

local function next_tenancy()
  if fence ~= '' then return nil end
  if directory_at > #directory then
    directory, directory_at = redis.call(
      'ZRANGE', KEYS[1], '-inf', latest, 'BYSCORE', 'LIMIT', #opened, BATCH, 'WITHSCORES'
    ), 1
  end
  return directory[directory_at], tonumber(directory[directory_at + 1])
end

-- Insert a source in order if it has an entry left. Return whether it has.
local function insert(source)
  local entry = head(source)
  if not entry then return false end
  local low, high = 1, #sources + 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    if head(sources[middle])[3] > entry[3] then low = middle + 1 else high = middle end
  end
  table.insert(sources, low, source)
  return true
end

-- Remove and return the source whose next entry is the longest overdue of all, or nil.
local function longest_overdue()
  while true do
    local first = sources[#sources]
    local tenancy, bound = next_tenancy()
    if not tenancy or first and head(first)[3] <= bound then return table.remove(sources) end
    directory_at = directory_at + 2
    opened[#opened + 1] = tenancy
    if not insert(tenancys_entries(tenancy)) then
      dropped = dropped + 1 -- the bound was too low
      if dropped >= MAX_DROPPED then return nil end
    end
  end
end

if fence ~= '' then
  local source = is_one_owner and owners_entries(fence) or tenancys_entries(fence)
  opened[1] = source.tenancy
  insert(source)
end

while #tokens > 0 and dropped < MAX_DROPPED do
  local source = longest_overdue()
  if not source then break end
  local owner, key, due = unpack(head(source))
  advance(source, consider(key, owner, due))
  insert(source)
end

-- With a fence, the directory was not needed, so it may be of the wrong type.
local correct = fence == '' and redis.call or redis.pcall
for _, tenancy in ipairs(opened) do
  local first = redis.pcall('ZRANGE', expiring_key(tenancy), '0', '0', 'WITHSCORES')
  if first[2] then
    correct('ZADD', expiring_key('all'), 'XX', first[2], tenancy)
  else
    correct('ZREM', expiring_key('all'), tenancy)
  end
end
return {#tokens > 0 and dropped >= MAX_DROPPED and 1 or 0, claimed}
