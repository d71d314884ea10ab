#!lua name=dataforge_@VERSION@
-- The one place where a partition's state changes (docs/specs/state.md). Every key of a partition shares
-- a hash tag, so each call is atomic and stays on one node; window keys are built from the prefix given.

local CHUNK = 1000 -- Lua's unpack has an argument limit

local function reader(args, at)
  local self = {}
  function self.one()
    at = at + 1
    return args[at - 1]
  end
  function self.many(width)
    local n = tonumber(self.one()) * width
    local first = at
    at = at + n
    return first, at - 1
  end
  return self
end

local function write(command, key, args, first, last)
  while first <= last do
    local stop = math.min(first + CHUNK - 1, last)
    redis.call(command, key, unpack(args, first, stop))
    first = stop + 1
  end
end

-- KEYS: meta. ARGV: token. The newest claimant is the owner.
local function claim(keys, args)
  redis.call('HSET', keys[1], 'claim', args[1])
  return 'OK'
end

-- KEYS: meta idx ids ledger feed window-prefix. ARGV: token, previous, position, feed cap, then sections:
-- feed (d), meta (k v), ids (k v), ids gone, ledger (k v), ledger gone, windows (member end rows(k v)), gone.
local function commit(keys, args)
  local meta, idx, ids, ledger, feed, prefix = unpack(keys)
  local have = redis.call('HMGET', meta, 'claim', 'position', 'feed', 'floor')
  local position = have[2] or '0'
  if have[1] ~= args[1] or position ~= args[2] then
    return { 'superseded', have[1] or '', position }
  end
  local token, target, cap = args[1], args[3], args[4]
  local r = reader(args, 5)

  -- The feed comes first: XADD is the one step that could refuse, and a function's writes are not undone.
  local prev = have[3] or ''
  local first, last = r.many(1)
  for i = first, last do
    local id = target .. '-' .. (i - first)
    redis.call('XADD', feed, 'MAXLEN', '~', cap, id, 'prev', prev, 'claim', token,
      'last', i == last and '1' or '0', 'floor', have[4] or '0', 'd', args[i])
    prev = id .. ' ' .. token
  end

  first, last = r.many(2)
  write('HSET', meta, args, first, last)
  first, last = r.many(2)
  write('HSET', ids, args, first, last)
  first, last = r.many(1)
  write('HDEL', ids, args, first, last)
  first, last = r.many(2)
  write('HSET', ledger, args, first, last)
  first, last = r.many(1)
  write('HDEL', ledger, args, first, last)
  for _ = 1, tonumber(r.one()) do
    local member, ends = r.one(), r.one()
    redis.call('ZADD', idx, ends, member)
    first, last = r.many(2)
    write('HSET', prefix .. member, args, first, last)
  end
  first, last = r.many(1)
  for i = first, last do
    redis.call('DEL', prefix .. args[i])
    redis.call('ZREM', idx, args[i])
  end
  redis.call('HSET', meta, 'position', target, 'feed', prev)
  return { 'OK' }
end

local function usage(key)
  return redis.call('MEMORY', 'USAGE', key, 'SAMPLES', '0') or 0
end

-- Whether as many bytes as a commit brings are freed by what it removes or, else, by the older half of the feed:
-- readers who need that read the state anew, and nothing else here can be done without.
local function makes_room(keys, args)
  local _, _, ids, ledger, feed, prefix = unpack(keys)
  local r, freed, brought = reader(args, 5), 0, 0
  local function bring(width)
    local first, last = r.many(width)
    for i = first, last do
      brought = brought + #args[i]
    end
  end
  local function remove(bytes_of)
    local first, last = r.many(1)
    for i = first, last do
      freed = freed + bytes_of(args[i])
    end
  end
  bring(1) -- feed
  bring(2) -- meta
  bring(2) -- ids
  remove(function(key) return redis.call('HSTRLEN', ids, key) end)
  bring(2) -- ledger
  remove(function(minute) return redis.call('HSTRLEN', ledger, minute) end)
  for _ = 1, tonumber(r.one()) do
    r.one()
    r.one()
    bring(2)
  end
  remove(function(member) return usage(prefix .. member) end)
  if freed < brought then
    local before = usage(feed)
    redis.call('XTRIM', feed, 'MAXLEN', math.max(1, math.floor(redis.call('XLEN', feed) / 2)))
    freed = freed + before - usage(feed)
  end
  return freed >= brought
end

-- As commit, on a server that is full: only what makes it no fuller.
local function commit_freeing(keys, args)
  local have = redis.call('HMGET', keys[1], 'claim', 'position')
  local owned = have[1] == args[1] and (have[2] or '0') == args[2]
  if owned and not makes_room(keys, args) then
    return { 'full' }
  end
  return commit(keys, args)
end

-- KEYS: meta feed. ARGV: token, position, floor, feed cap, d. The floor never goes back; it is display only.
-- Its feed entry's id ends in the floor: whoever repeats it, or does it again after a roll-back, says the same.
local function settle(keys, args)
  local meta, feed = unpack(keys)
  local have = redis.call('HMGET', meta, 'claim', 'position', 'feed', 'watermark', 'floor')
  local position, floor = have[2] or '0', tonumber(args[3])
  if have[1] ~= args[1] or position ~= args[2] then
    return { 'superseded', have[1] or '', position }
  end
  if floor > math.max(tonumber(have[4] or '0'), tonumber(have[5] or '0')) then
    local id = position .. '-' .. args[3]
    redis.call('XADD', feed, 'MAXLEN', '~', args[4], id, 'prev', have[3] or '', 'claim', args[1],
      'last', '1', 'floor', args[3], 'd', args[5])
    redis.call('HSET', meta, 'floor', args[3], 'feed', id .. ' ' .. args[1])
  end
  return { 'OK' }
end

-- KEYS: meta idx window-prefix. ARGV: table, size, first start, start limit, most.
-- Returns {position, next, watermark, floor, feed, {start, {label, row, …}, …}}, all of one instant. Where more than
-- `most` windows of all tables end in that span, no rows and `many` behind them: nobody writes while this reads.
local function read(keys, args)
  local meta = redis.call('HMGET', keys[1], 'position', 'next', 'watermark', 'floor', 'feed')
  local rows = {}
  local out = { meta[1] or '0', meta[2] or '0', meta[3] or '0', meta[4] or '0', meta[5] or '', rows }
  if args[1] then
    local size = tonumber(args[2])
    local own = args[1] .. '|' .. args[2] .. '|'
    local low = string.format('%.0f', tonumber(args[3]) + size)
    local high = '(' .. string.format('%.0f', tonumber(args[4]) + size)
    if args[5] and redis.call('ZCOUNT', keys[2], low, high) > tonumber(args[5]) then
      out[7] = 'many'
      return out
    end
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', keys[2], low, high)) do
      if string.sub(member, 1, #own) == own then
        table.insert(rows, string.sub(member, #own + 1))
        table.insert(rows, redis.call('HGETALL', keys[3] .. member))
      end
    end
  end
  return out
end

-- A full server must not keep out the owner who could free it.
redis.register_function { function_name = 'df_claim_@VERSION@', callback = claim, flags = { 'allow-oom' } }
redis.register_function('df_commit_@VERSION@', commit)
redis.register_function {
  function_name = 'df_commit_freeing_@VERSION@', callback = commit_freeing, flags = { 'allow-oom' },
}
redis.register_function('df_settle_@VERSION@', settle)
redis.register_function { function_name = 'df_read_@VERSION@', callback = read, flags = { 'no-writes' } }
