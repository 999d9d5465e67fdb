-- Read a document of another program, as strictly as all readers do. Nothing here writes a document: cjson
-- would change fields that it does not know.
--
-- cjson takes 20 to 80 ms for a megabyte, and the server answers no other client in that time. So of a
-- document of more than LARGEST_WHOLE bytes, only the part before its context_json is read. That must be the
-- last field and begin within this many bytes, as in documents of the Rust crate and ours. _documents.py
-- requires the same form of large documents, so a reader never finds another owner than a script does.

local LARGEST_WHOLE = 16384 -- bytes
local STAMP_LENGTH = 32

local function document_of(key) return redis.call('GET', session_key(key)) end

-- Return whether a text is valid UTF-8. A valid character is replaced by a dot, not removed, as the bytes on
-- both sides of it could form another one.
local function is_utf8(text)
  if not string.find(text, '[\128-\255]') then return true end
  text = string.gsub(text, '[\194-\223][\128-\191]', '.')
  text = string.gsub(text, '\224[\160-\191][\128-\191]', '.')
  text = string.gsub(text, '\237[\128-\159][\128-\191]', '.')
  text = string.gsub(text, '[\225-\236\238\239][\128-\191][\128-\191]', '.')
  text = string.gsub(text, '\240[\144-\191][\128-\191][\128-\191]', '.')
  text = string.gsub(text, '\244[\128-\143][\128-\191][\128-\191]', '.')
  text = string.gsub(text, '[\241-\243][\128-\191][\128-\191][\128-\191]', '.')
  return not string.find(text, '[\128-\255]')
end

-- Return the stamp that a document ends in, or nil.
local function stamp_of(key)
  local ending = redis.call('GETRANGE', session_key(key), -STAMP_LENGTH, -1)
  return #ending == STAMP_LENGTH and not string.find(ending, '[^\t\n\r ]') and ending or nil
end

-- Return a document. If it is large, its context_json is left empty; nil if a large one has another form.
-- `size` does not include the stamp.
--
-- Inside a JSON string, every quote has a backslash before it, so no string can contain the name of the field.
local function shortened(key, size, has_stamp)
  if size <= LARGEST_WHOLE then return document_of(key) end
  local CONTEXT = ',"context_json":"'
  local name = session_key(key)
  local tail = redis.call('GETRANGE', name, size - 64, size - 1)
  local head = redis.call('GETRANGE', name, 0, LARGEST_WHOLE - 1)
  local cut = string.find(head, CONTEXT, 1, true)
  if not cut and has_stamp then -- Only our documents have a stamp, and their heads may be of any size.
    head = document_of(key)
    cut = string.find(head, CONTEXT, 1, true)
  end
  if not cut or not string.find(tail, '"}[\t\n\r ]*$') then return nil end
  return string.sub(head, 1, cut - 1) .. CONTEXT .. '"}'
end

-- Return the owner of a document, nil if it cannot be determined, and whether readers can read the document.
--
-- An owner is the text in the keys: env:tenant:team:user, with "-" for no team and nothing for no user.
-- Rust allows a team named "-", which no owner of ours has.
local function examine(key, size, has_stamp)
  local LARGEST_ATTEMPT = 2 ^ 32 - 1
  local OPTIONAL_TEXTS = {
    'session_id', 'flow_id', 'node_id', 'provider_id', 'trace_id', 'i18n_id', 'correlation_id',
    'idempotency_key',
  }

  local function is_text(value) return type(value) == 'string' end
  local function is_object(value) return type(value) == 'table' end
  local function is_identifier(value) return is_text(value) and string.match(value, '^[%w._-]+$') end
  local function is_integer(value) return type(value) == 'number' and value == math.floor(value) end
  local function is_absent(value) return value == nil or value == cjson.null end
  local function is_optional(value, check) return is_absent(value) or check(value) end

  -- cjson accepts NaN and Infinity, which are not JSON.
  local function is_finite(value)
    if type(value) == 'number' then return value == value and math.abs(value) < math.huge end
    if not is_object(value) then return true end
    for _, item in pairs(value) do
      if not is_finite(item) then return false end
    end
    return true
  end

  -- Return the fields of a document, or nil if it is not a JSON object.
  local function parse(document)
    local valid, fields = pcall(cjson.decode, document)
    return valid and is_object(fields) and is_finite(fields) and fields or nil
  end

  -- Return the value of a field that may have two names: nil if it is absent, false if it is not an
  -- identifier or the two differ.
  local function twin(fields, name, other)
    local one, two = fields[name], fields[other]
    if is_absent(one) then one = two end
    if is_absent(two) then two = one end
    if is_absent(one) then return nil end
    return one == two and is_identifier(one) or false
  end

  -- Return the owner that a tenant context names, or nil if it cannot be determined.
  local function owner_of(ctx)
    if not is_object(ctx) or not is_identifier(ctx.env) then return nil end
    local tenant = twin(ctx, 'tenant', 'tenant_id')
    local team, user = twin(ctx, 'team', 'team_id'), twin(ctx, 'user', 'user_id')
    if not tenant or team == false or user == false then return nil end
    if team == '-' then team = '"-"' end
    return ctx.env .. ':' .. tenant .. ':' .. (team or '-') .. ':' .. (user or '')
  end

  local function are_attributes(attributes)
    if not is_object(attributes) then return false end
    for name, value in pairs(attributes) do
      if not is_text(name) or not is_text(value) then return false end
    end
    return true
  end

  local function is_context(ctx)
    for _, name in ipairs(OPTIONAL_TEXTS) do
      if not is_optional(ctx[name], is_text) then return false end
    end
    local attempt = ctx.attempt or 0
    return is_integer(attempt) and attempt >= 0 and attempt <= LARGEST_ATTEMPT
      and (ctx.attributes == nil or are_attributes(ctx.attributes))
      and is_optional(ctx.deadline, function(deadline)
        return is_object(deadline) and is_integer(deadline.unix_millis)
      end)
      and is_optional(ctx.impersonation, function(impersonation)
        return is_object(impersonation) and is_identifier(impersonation.actor_id)
          and is_optional(impersonation.reason, is_text)
      end)
  end

  local function is_cursor(cursor)
    return is_object(cursor) and is_text(cursor.node_pointer)
      and is_optional(cursor.wait_reason, is_text) and is_optional(cursor.outbox_marker, is_text)
  end

  local function is_complete(fields)
    return is_context(fields.tenant_ctx) and is_cursor(fields.cursor)
      and is_identifier(fields.flow_id) and is_optional(fields.pack_id, is_identifier)
      and is_text(fields.context_json)
  end

  local document = shortened(key, size, has_stamp)
  local fields = document and parse(document)
  local owner = fields and owner_of(fields.tenant_ctx)
  return owner, owner and is_utf8(document) and is_complete(fields)
end
