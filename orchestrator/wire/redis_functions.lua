#!lua name=tocsin
-- The functions that must be atomic in Redis: the fenced append, the way of an alert, the ledger, budgets, nodes.
-- wire/redis_functions.c bears these same lines as a C string; a unit test compares the two.
-- Raise tocsin_version (and REDIS_FUNCTIONS_VERSION) with every change.

-- Spelt out: while it is being loaded a library sees nothing but `redis`.
local ZEROS = '0000000000000000000000000000000000000000000000000000000000000000'
local TRIM_AT_ONCE = 100 -- old entries of `seen` that one call removes at most
local MACHINES = 200 -- whose clocks are remembered
local MOST_FIELDS = 3000 -- pairs that one XADD may bear (Lua's stack bounds unpack)

-- Lua 5.1 would write 1e+15 for large numbers.
local function digits(n)
  return string.format('%.0f', n)
end

local function whole(text)
  local n = tonumber(text)
  if not n or n < 0 or n ~= math.floor(n) then return nil end
  return n
end

-- KEYS: journal, state. ARGV: prev, first_seq, state, then e, h, b for each entry.
local function append(keys, args)
  local call, format = redis.call, string.format -- the hottest of all: looked up once
  local journal, prev, first, count = keys[1], args[1], whole(args[2]), (#args - 3) / 3
  if not first or first < 1 or count < 1 or count ~= math.floor(count) then
    return redis.error_reply('ERR append: wrong arguments')
  end
  local last_id, last_hash = '0-0', ZEROS
  local last = call('XREVRANGE', journal, '+', '-', 'COUNT', 1)[1]
  if last then
    last_id = last[1]
    local fields = last[2]
    for i = 1, #fields, 2 do
      if fields[i] == 'h' then last_hash = fields[i + 1] end
    end
  end
  local fits = last_hash == prev and last_id == digits(first - 1) .. '-0'
  if fits and prev == ZEROS and call('EXISTS', journal) == 1 then fits = false end -- emptied, not new
  if not fits then
    return redis.error_reply('FENCE last=' .. last_id .. ' h=' .. last_hash)
  end
  for i = 0, count - 1 do
    local at = 4 + i * 3
    call('XADD', journal, format('%.0f-0', first + i), 'e', args[at], 'h', args[at + 1], 'b', args[at + 2])
  end
  if args[3] ~= '' then call('SET', keys[2], args[3]) end
  return count
end

-- "INC|n1": the ids' prefix, and the node that owns what it opens.
local function prefix_node(text)
  local prefix, node = string.match(text or '', '^([^|]*)|(.+)$')
  return prefix or text, node
end

local function incident_id(prefix, ids, owner, node)
  local id = string.format('%s-%06d', prefix, redis.call('INCR', ids))
  if owner and node then redis.call('HSET', owner, id, node) end
  return id
end

-- The live incident of a group, whose window this call pushes forward; nil when there is none.
local function join_group(groups, key, now, window)
  local value = redis.call('HGET', groups, key)
  local incident, expires = string.match(value or '', '^(.+)|(%d+)$')
  if not incident or tonumber(expires) <= now then return nil end
  redis.call('HSET', groups, key, incident .. '|' .. digits(math.max(tonumber(expires), now + window)))
  return incident
end

-- The stored answer: {word, id, created, id, created...}; without flags for a duplicate.
local function route_answer(word, incidents)
  local out = { word }
  for _, incident in ipairs(incidents) do
    out[#out + 1] = incident.id
    if word ~= 'duplicate' then out[#out + 1] = incident.created end
  end
  return out
end

-- KEYS: routed, seen, group, ids, seen_in, perhaps owner. ARGV: alert id, stream id, now_ms, prefix or prefix|node, then group key, window_ms pairs.
local function route(keys, args)
  local routed, seen, groups, ids, seen_in = keys[1], keys[2], keys[3], keys[4], keys[5]
  local alert, stream_id, now, prefix, node = args[1], args[2], whole(args[3]), prefix_node(args[4])
  if #args < 6 or #args % 2 ~= 0 or alert == '' or prefix == '' or not now then
    return redis.error_reply('ERR route: wrong arguments')
  end
  for i = 6, #args, 2 do
    if not whole(args[i]) then return redis.error_reply('ERR route: wrong window') end
  end
  local known = redis.call('HGET', routed, alert)
  if known then
    known = cjson.decode(known)
    return route_answer(known.stream == stream_id and 'routed' or 'duplicate', known.incidents)
  end
  if redis.call('ZSCORE', seen, alert) then
    local answer = { 'duplicate' }
    for _, id in ipairs(cjson.decode(redis.call('HGET', seen_in, alert) or '[]')) do answer[#answer + 1] = id end
    return answer
  end
  local incidents, here = {}, {} -- here: the groups of this very call, which a window of 0 would not find again
  for i = 5, #args, 2 do
    local key, window = args[i], tonumber(args[i + 1])
    local id = key ~= '' and (here[key] or join_group(groups, key, now, window)) or nil
    local created = id and 0 or 1
    id = id or incident_id(prefix, ids, keys[6], node)
    if key ~= '' and created == 1 then redis.call('HSET', groups, key, id .. '|' .. digits(now + window)) end
    if key ~= '' then here[key] = id end
    incidents[#incidents + 1] = { id = id, created = created }
  end
  redis.call('HSET', routed, alert, cjson.encode({ stream = stream_id, incidents = incidents }))
  return route_answer('new', incidents)
end

-- The fields of a JSON object in the order of their names, as XADD wants them; nil when it is none.
local function part_fields(text)
  local good, part = pcall(cjson.decode, text)
  if not good or type(part) ~= 'table' then return nil end
  local names, out = {}, {}
  for name, value in pairs(part) do
    if type(name) ~= 'string' or (type(value) ~= 'string' and type(value) ~= 'number') then return nil end
    names[#names + 1] = name
  end
  if #names == 0 or #names > MOST_FIELDS then return nil end
  table.sort(names)
  for _, name in ipairs(names) do
    out[#out + 1] = name
    out[#out + 1] = type(part[name]) == 'number' and digits(part[name]) or part[name]
  end
  return out
end

-- The message's raw fields: as given, else as they lie in the queue (a document too large to travel once more).
local function raw_fields(keys, args)
  local raw = {}
  for i = 8, #args do raw[#raw + 1] = args[i] end
  if #raw > 0 then return raw end
  local entry = redis.call('XRANGE', keys[1], args[2], args[2])[1]
  return entry and entry[2] or raw
end

-- The letter's fields; too many for one XADD are kept together in one.
local function dead_fields(args, raw, now)
  local out = { 'reason', args[7], 'at', digits(now) }
  if #raw <= 2 * MOST_FIELDS then
    for _, field in ipairs(raw) do out[#out + 1] = field end
    return out
  end
  out[#out + 1] = 'fields'
  out[#out + 1] = cjson.encode(raw)
  return out
end

-- Ends the routing of this very message (another message with the same alert id keeps its own) and remembers the alert.
local function remember(keys, alert, stream_id, outcome, now)
  local routed, seen, seen_in = keys[2], keys[3], keys[4]
  local known = redis.call('HGET', routed, alert)
  known = known and cjson.decode(known)
  if known and known.stream ~= stream_id then known = nil end
  if known then redis.call('HDEL', routed, alert) end
  if outcome ~= 'attached' and outcome ~= 'suppressed' then return end
  redis.call('ZADD', seen, digits(now), alert)
  if not known then return end
  local ids = {}
  for _, incident in ipairs(known.incidents) do ids[#ids + 1] = incident.id end
  redis.call('HSET', seen_in, alert, cjson.encode(ids))
end

local function forget_old(keys, now, keep)
  local seen, seen_in = keys[3], keys[4]
  local before = '(' .. digits(math.max(now - keep, 0))
  local old = redis.call('ZRANGEBYSCORE', seen, '-inf', before, 'LIMIT', 0, TRIM_AT_ONCE)
  if #old == 0 then return end
  redis.call('ZREM', seen, unpack(old))
  redis.call('HDEL', seen_in, unpack(old))
end

local OUTCOMES = { attached = true, duplicate = true, suppressed = true, split = true, dead = true }

-- KEYS: queue, routed, seen, seen_in, counts, dead.
-- ARGV: group, stream id, alert id, outcome, now_ms, keep_ms, then parts (split) or reason (dead; raw fields may follow).
local function done(keys, args)
  local queue, counts, dead = keys[1], keys[5], keys[6]
  local group, stream_id, alert, outcome = args[1], args[2], args[3], args[4]
  local now, keep = whole(args[5]), whole(args[6])
  if not now or not keep or not OUTCOMES[outcome] or (outcome == 'dead' and (#args < 7 or #args % 2 ~= 1)) then
    return redis.error_reply('ERR done: wrong arguments')
  end
  local parts = {}
  if outcome == 'split' then
    for i = 7, #args do
      parts[#parts + 1] = part_fields(args[i])
      if #parts ~= i - 6 then return redis.error_reply('ERR done: a part is no object of texts') end
    end
  end
  local raw = outcome == 'dead' and raw_fields(keys, args)
  local acked = redis.call('XACK', queue, group, stream_id)
  local removed = redis.call('XDEL', queue, stream_id)
  if acked == 0 and removed == 0 then return 0 end
  for _, fields in ipairs(parts) do redis.call('XADD', queue, '*', unpack(fields)) end
  if outcome == 'dead' then redis.call('XADD', dead, '*', unpack(dead_fields(args, raw, now))) end
  if alert ~= '' then remember(keys, alert, stream_id, outcome, now) end
  redis.call('HINCRBY', counts, outcome, 1)
  forget_old(keys, now, keep)
  return 1
end

-- KEYS: dead, queue. ARGV: a letter's id or '' for all, how many at most. Back on the queue without reason and time; how many went.
local function revive(keys, args)
  local one, moved = args[1] ~= '', 0
  for _, letter in ipairs(redis.call('XRANGE', keys[1], one and args[1] or '-', one and args[1] or '+', 'COUNT', args[2])) do
    if #letter[2] > 4 then
      redis.call('XADD', keys[2], '*', unpack(letter[2], 5))
      redis.call('XDEL', keys[1], letter[1])
      moved = moved + 1
    end
  end
  return moved
end

-- KEYS: queue, counts. What XINFO STREAM and HGETALL say of one moment.
local function tally(keys)
  local info = redis.pcall('XINFO', 'STREAM', keys[1]) -- an error while there is no stream
  return { info.err and {} or info, redis.call('HGETALL', keys[2]) }
end

-- KEYS: group. ARGV: incident, group keys. The keys removed are counted.
local function ungroup(keys, args)
  local removed = 0
  for i = 2, #args do
    local value = redis.call('HGET', keys[1], args[i])
    if value and string.match(value, '^(.+)|%d+$') == args[1] then
      removed = removed + redis.call('HDEL', keys[1], args[i])
    end
  end
  return removed
end

-- KEYS: contained. ARGV: field, json. 1 when the field is new.
local function hold(keys, args)
  return redis.call('HSET', keys[1], args[1], args[2])
end

-- KEYS: contained. ARGV: field.
local function unhold(keys, args)
  return redis.call('HDEL', keys[1], args[1])
end

-- KEYS: a target's holders (a set). ARGV: one of them. Lets go in one step, so that of several exactly the last sees nobody left. Who still holds it.
local function let_go(keys, args)
  redis.call('SREM', keys[1], args[1])
  return redis.call('SMEMBERS', keys[1])
end

-- KEYS: a sorted set. ARGV: now_ms, window_ms, most, id. 1: reserved (or was already), 0: the budget is spent.
local function budget(keys, args)
  local now, window, most = whole(args[1]), whole(args[2]), whole(args[3])
  if not now or not window or not most or not args[4] then return redis.error_reply('ERR budget: wrong arguments') end
  redis.call('ZREMRANGEBYSCORE', keys[1], '-inf', digits(math.max(now - window, 0)))
  if redis.call('ZSCORE', keys[1], args[4]) then return 1 end
  if redis.call('ZCARD', keys[1]) >= most then return 0 end
  redis.call('ZADD', keys[1], digits(now), args[4])
  return 1
end

-- KEYS: clock (a hash). ARGV: machine, its boot_ms, its offset as it knows it or ''. What, added to boot_ms, is the time that all nodes of this Redis share
-- and that nobody sets; a machine that is new goes on where the others are, by the clock here, and what that one is wrong by stands in '#redis'.
-- It never goes back by more than a minute, also where the clock here is behind after both were down: '#last' is what it showed, to the minute.
local function steady(keys, args)
  local machine, boot, known = args[1], whole(args[2]), args[3]
  if not machine or machine == '' or not boot or not known then return redis.error_reply('ERR steady: wrong arguments') end
  local time, stored = redis.call('TIME'), redis.call('HMGET', keys[1], machine, '#redis', '#last')
  local here, wrong = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000), tonumber(stored[2] or '')
  local last = tonumber(stored[3] or '') or 0
  local offset = tonumber(known) or tonumber(stored[1] or '') or math.max(here + (wrong or 0), last) - boot
  local wrong_now = boot + offset - here
  if redis.call('HLEN', keys[1]) > MACHINES then -- those that are up say it again
    redis.call('DEL', keys[1])
    stored, wrong, last = {}, nil, 0
  end
  if stored[1] ~= digits(offset) then redis.call('HSET', keys[1], machine, digits(offset)) end
  if not wrong or math.abs(wrong_now - wrong) >= 1000 then redis.call('HSET', keys[1], '#redis', digits(wrong_now)) end
  if boot + offset - last >= 60000 then redis.call('HSET', keys[1], '#last', digits(boot + offset)) end
  return offset
end

-- KEYS: ids, perhaps owner. ARGV: prefix or prefix|node. For an incident that a person opens.
local function open_id(keys, args)
  local prefix, node = prefix_node(args[1])
  return incident_id(prefix, keys[1], keys[2], node)
end

-- KEYS: nodes, brakes. ARGV: node, run, expect, facts (a JSON object with the node's folder).
-- Raises the node's counter. expect 'beat': only while the record is this very run's. Else it begins: over no record, over one of the same
-- folder, or over one whose counter still stands at expect. Replies [brakes' epoch, brakes, nodes] of this moment.
local function beat(keys, args)
  local nodes, node, run, expect = keys[1], args[1], args[2], args[3]
  local good, facts = pcall(cjson.decode, args[4] or '')
  if not good or type(facts) ~= 'table' or node == '' or run == '' then return redis.error_reply('ERR beat: wrong arguments') end
  local known = redis.call('HGET', nodes, node)
  known = known and cjson.decode(known)
  local mine = not known or known.run == run
  if not mine and expect ~= 'beat' then mine = known.folder == facts.folder or digits(known.beat) == expect end
  if not mine then return redis.error_reply('FENCE another process runs as node ' .. node) end
  facts.run, facts.beat = run, (known and known.beat or 0) + 1
  redis.call('HSET', nodes, node, cjson.encode(facts))
  return { redis.call('HGET', nodes, '#brakes') or '0', redis.call('HGETALL', keys[2]), redis.call('HGETALL', nodes) }
end

-- KEYS: nodes. ARGV: node, run. An orderly end: the others need not wait until the counter has stood still.
local function leave(keys, args)
  local known = redis.call('HGET', keys[1], args[1])
  if not known or cjson.decode(known).run ~= args[2] then return 0 end
  return redis.call('HDEL', keys[1], args[1])
end

-- KEYS: nodes, brakes. ARGV: scope, value ('' releases it). The brakes' new epoch, which every node confirms with its next beat.
local function brake(keys, args)
  if args[2] == '' then redis.call('HDEL', keys[2], args[1]) else redis.call('HSET', keys[2], args[1], args[2]) end
  return redis.call('HINCRBY', keys[1], '#brakes', 1)
end

-- KEYS: a counter. ARGV: what it has stood at already, as a process knows that outlived a change of the master: it goes on from there at least.
local function at_least(keys, args)
  local wanted = whole(args[1])
  if not wanted then return redis.error_reply('ERR at_least: wrong arguments') end
  local now = tonumber(redis.call('GET', keys[1]) or '0') or 0
  if now < wanted then redis.call('SET', keys[1], digits(wanted)) end
  return math.max(now, wanted)
end

-- KEYS: owner. ARGV: incident, node, from. It becomes the node's when nobody's, its own, or from's. [owner now, owner before or ''].
local function claim(keys, args)
  local before = redis.call('HGET', keys[1], args[1])
  if before and before ~= args[2] and before ~= args[3] then return { before, before } end
  if before ~= args[2] then redis.call('HSET', keys[1], args[1], args[2]) end
  return { args[2], before or '' }
end

-- KEYS: owner. ARGV: incident, node, to ('': nobody). 1 when it was the node's to give.
local function give(keys, args)
  if redis.call('HGET', keys[1], args[1]) ~= args[2] then return 0 end
  if args[3] == '' then redis.call('HDEL', keys[1], args[1]) else redis.call('HSET', keys[1], args[1], args[3]) end
  return 1
end

-- KEYS: inbox, nonces. ARGV: message id, nonce, now_ms, keep_ms. 1: it is the caller's to carry out, 0: somebody else took it, -1: replayed.
local function take(keys, args)
  local now, keep = whole(args[3]), whole(args[4])
  if not now or not keep or not args[2] then return redis.error_reply('ERR take: wrong arguments') end
  if redis.call('XDEL', keys[1], args[1]) == 0 then return 0 end
  redis.call('ZREMRANGEBYSCORE', keys[2], '-inf', digits(math.max(now - keep, 0)))
  return redis.call('ZADD', keys[2], 'NX', digits(now), args[2]) == 1 and 1 or -1
end

-- The field of a stream's entry; nil when there is no such entry.
local function stream_field(key, seq, name)
  local entry = redis.call('XRANGE', key, seq .. '-0', seq .. '-0')[1]
  for i = 1, entry and #entry[2] or 0, 2 do
    if entry[2][i] == name then return entry[2][i + 1] end
  end
end

-- KEYS: journal, state, the new journal's place for the time of this call. ARGV: seq, seq of the entry that says its body is removed.
-- The journal with the same ids, heads and leaves, without that body, in the old one's place; the state goes, because it may tell of it.
-- 1: done, 0: the journal is not here, the body was gone already, or it has left Redis (retire): then only the evidence log has it.
local function remove(keys, args)
  local journal, fresh, call = keys[1], keys[3], redis.call
  local seq, by = whole(args[1]), whole(args[2])
  if not seq or not by or by <= seq then return redis.error_reply('ERR remove: wrong arguments') end
  if call('EXISTS', journal) == 0 then return 0 end
  local says = stream_field(journal, digits(by), 'e') or ''
  if not string.find(says, '"step":"' .. digits(seq) .. '"', 1, true) or not string.find(says, '"type":"body.removing"', 1, true) then
    return redis.error_reply('FENCE no entry ' .. digits(by) .. ' says that the body of ' .. digits(seq) .. ' is removed')
  end
  local there = stream_field(journal, digits(seq), 'b')
  if there then
    local page -- the last one read
    local from = '-'
    call('DEL', fresh)
    repeat
      page = call('XRANGE', journal, from, '+', 'COUNT', 100)
      for _, entry in ipairs(page) do
        local fields = entry[2]
        if entry[1] == digits(seq) .. '-0' then
          fields = { 'e', stream_field(journal, digits(seq), 'e'), 'h', stream_field(journal, digits(seq), 'h') }
        end
        call('XADD', fresh, entry[1], unpack(fields))
        from = '(' .. entry[1]
      end
    until #page < 100
    call('RENAME', fresh, journal)
  end
  call('DEL', keys[2])
  return there and 1 or 0
end

-- KEYS: journal, state. ARGV: its last seq, that entry's leaf hash, the node whose evidence log holds all of it, what stays as its state.
-- The last entry's place and hash stay, so that the next append goes on from there and none can begin anew. 1: done; 0: it was so already.
local function retire(keys, args)
  local last = redis.call('XREVRANGE', keys[1], '+', '-', 'COUNT', 1)[1]
  local id, fields, found = last and last[1] or '0-0', last and last[2] or {}, {}
  if #args ~= 4 or args[3] == '' then return redis.error_reply('ERR retire: wrong arguments') end
  for i = 1, #fields, 2 do found[fields[i]] = fields[i + 1] end
  if id ~= args[1] .. '-0' or found.h ~= args[2] then
    return redis.error_reply('FENCE last=' .. id .. ' h=' .. (found.h or ZEROS))
  end
  if found.n then return 0 end
  redis.call('UNLINK', keys[1])
  redis.call('XADD', keys[1], id, 'h', args[2], 'n', args[3])
  redis.call('SET', keys[2], args[4])
  return 1
end

redis.register_function('tocsin_append', append)
redis.register_function('tocsin_remove', remove)
redis.register_function('tocsin_route', route)
-- What only ends or removes things goes on when memory is full.
redis.register_function { function_name = 'tocsin_done', callback = done, flags = { 'allow-oom' } }
redis.register_function { function_name = 'tocsin_ungroup', callback = ungroup, flags = { 'allow-oom' } }
redis.register_function('tocsin_revive', revive)
redis.register_function { function_name = 'tocsin_tally', callback = tally, flags = { 'no-writes' } }
redis.register_function('tocsin_hold', hold)
redis.register_function { function_name = 'tocsin_unhold', callback = unhold, flags = { 'allow-oom' } }
redis.register_function { function_name = 'tocsin_let_go', callback = let_go, flags = { 'allow-oom' } }
redis.register_function('tocsin_budget', budget)
redis.register_function('tocsin_open_id', open_id)
-- A full memory is no reason to be called dead, nor to leave a dead node's incidents alone.
redis.register_function { function_name = 'tocsin_beat', callback = beat, flags = { 'allow-oom' } }
redis.register_function { function_name = 'tocsin_steady', callback = steady, flags = { 'allow-oom' } }
redis.register_function { function_name = 'tocsin_leave', callback = leave, flags = { 'allow-oom' } }
redis.register_function { function_name = 'tocsin_brake', callback = brake, flags = { 'allow-oom' } }
redis.register_function { function_name = 'tocsin_at_least', callback = at_least, flags = { 'allow-oom' } }
redis.register_function { function_name = 'tocsin_claim', callback = claim, flags = { 'allow-oom' } }
redis.register_function { function_name = 'tocsin_give', callback = give, flags = { 'allow-oom' } }
redis.register_function { function_name = 'tocsin_retire', callback = retire, flags = { 'allow-oom' } }
redis.register_function { function_name = 'tocsin_take', callback = take, flags = { 'allow-oom' } }
redis.register_function {
  function_name = 'tocsin_version', callback = function() return 10 end, flags = { 'no-writes', 'allow-stale' },
}
