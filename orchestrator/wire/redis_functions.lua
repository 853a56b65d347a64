#!lua name=tocsin
-- The functions that must be atomic in Redis: the fenced append, the way of an alert, the ledger, budgets, nodes.
-- wire/redis_functions.c bears these same lines as a C string; a unit test compares the two.
-- Raise tocsin_version (and REDIS_FUNCTIONS_VERSION) with every change.

-- Spelt out: while it is being loaded a library sees nothing but `redis`.
local ZEROS = '0000000000000000000000000000000000000000000000000000000000000000'
local TRIM_AT_ONCE = 100 -- old entries of `seen` that one call removes at most
local MACHINES = 200 -- whose clocks are remembered
local MOST_FIELDS = 3000 -- pairs that one XADD may bear (Lua's stack bounds unpack)
local WORDS_AT_ONCE = 4000 -- of one command for many things

-- Lua 5.1 would write 1e+15 for large numbers.
local function digits(n) return string.format('%.0f', n) end

local function whole(text)
  local n = tonumber(text)
  if not n or n < 0 or n ~= math.floor(n) then return nil end
  return n
end

local ids_kept = {} -- those that are not made anew each time
for seq = 1, 1000 do ids_kept[seq] = seq .. '-0' end

local function entry_id(seq) return ids_kept[seq] or digits(seq) .. '-0' end

-- A journal's item bears one entry (e, h, b), or a whole wave: E, H, B of the first, whose seq is its id ("7-0"), then of the next, and so on.
-- The seq of its last entry, and that one's leaf hash; 0 and zeros for no item.
local function item_end(item)
  local entries, hash, fields = 0, ZEROS, item and item[2] or {}
  for i = 1, #fields, 2 do
    local letter = string.lower(fields[i])
    if letter == 'e' then entries = entries + 1 elseif letter == 'h' then hash = fields[i + 1] end
  end
  return item and string.match(item[1], '%d+') + math.max(entries - 1, 0) or 0, hash
end

-- KEYS: journal, state. ARGV: prev, first_seq, state, then e, h, b for each entry.
local function append(keys, args)
  local call, journal, prev, first, words = redis.call, keys[1], args[1], whole(args[2]), #args -- the hottest of all: looked up once
  if not first or first < 1 or words < 6 or words % 3 ~= 0 then return redis.error_reply('ERR append: wrong arguments') end
  -- A new journal must not be there at all: one that was emptied is not new.
  local new = first == 1 and prev == ZEROS
  if not new or call('EXISTS', journal) == 1 then
    local last, hash = item_end(call('XREVRANGE', journal, '+', '-', 'COUNT', '1')[1])
    if new or hash ~= prev or last ~= first - 1 then return redis.error_reply('FENCE last=' .. entry_id(last) .. ' h=' .. hash) end
  end
  local seq = first
  for at = 4, words, 3 do
    call('XADD', journal, entry_id(seq), 'e', args[at], 'h', args[at + 1], 'b', args[at + 2])
    seq = seq + 1
  end
  if args[3] ~= '' then call('SET', keys[2], args[3]) end
  return seq - first
end

-- One command for a list of any length; of one that asks, all that it answers.
local function many(command, key, list)
  if #list <= WORDS_AT_ONCE then return #list > 0 and redis.call(command, key, unpack(list)) or {} end
  local out = {}
  for from = 1, #list, WORDS_AT_ONCE do
    local part = redis.call(command, key, unpack(list, from, math.min(from + WORDS_AT_ONCE - 1, #list)))
    for _, value in ipairs(type(part) == 'table' and part or {}) do out[#out + 1] = value end
  end
  return out
end

-- "INC|n1": the ids' prefix, and the node that owns what it opens.
local function prefix_node(text)
  local prefix, node = string.match(text or '', '^([^|]*)|(.+)$')
  return prefix or text, node
end

-- An alert: {id, stream, from, to}: where in args its pairs of group key and window begin and end. False when a window is none, or there is no pair.
local function pairs_good(args, from, to)
  if to <= from or to > #args then return false end
  for i = from + 1, to, 2 do if not whole(args[i]) then return false end end
  return true
end

-- The groups that alerts name, as they are in Redis: {incident = {id}, expires}, or false.
local function groups_of(key, alerts, args)
  local names, groups = {}, {}
  for _, alert in ipairs(alerts) do
    for i = alert.from, alert.to, 2 do
      local name = args[i]
      if name ~= '' and groups[name] == nil then
        names[#names + 1] = name
        groups[name] = false
      end
    end
  end
  for i, value in ipairs(many('HMGET', key, names)) do
    local incident, expires = string.match(value or '', '^(.+)|(%d+)$')
    if incident then groups[names[i]] = { incident = { id = incident }, expires = tonumber(expires) } end
  end
  return groups
end

-- One incident for each pair: its group's live one, whose window this pushes forward, else a new one (in `made`; its id comes later).
-- {incident, created, incident, created...}
local function place(alert, args, groups, changed, made, now)
  local placed, here = {}, {} -- here: the groups of this very alert, which a window of 0 would not find again
  for i = alert.from, alert.to, 2 do
    local key, window, group = args[i], tonumber(args[i + 1]), groups[args[i]]
    local incident, created = here[key], 0
    if not incident and group and group.expires > now then
      incident, group.expires = group.incident, math.max(group.expires, now + window)
      changed[key] = group
    elseif not incident then
      incident, created = { id = false }, 1
      made[#made + 1] = incident
      group = key ~= '' and { incident = incident, expires = now + window } or nil
      groups[key], changed[key] = group, group
    end
    if key ~= '' then here[key] = incident end
    placed[#placed + 1], placed[#placed + 2] = incident, created
  end
  return placed
end

local function name_made(made, ids, owner, prefix, node)
  local owned, before = {}, tonumber(redis.call('GET', ids) or '0')
  redis.call('SET', ids, digits(before + #made)) -- INCRBY and ZMSCORE are not among what acl.c has let the engine's user do
  for i, incident in ipairs(made) do
    incident.id = string.format('%s-%06d', prefix, before + i)
    owned[2 * i - 1], owned[2 * i] = incident.id, node
  end
  if owner and node then many('HSET', owner, owned) end
end

-- As cjson would write it; there is nothing to escape in ids.
local function routing_text(stream, placed)
  local incidents = {}
  for i = 1, #placed, 2 do
    incidents[#incidents + 1] = '{"id":"' .. placed[i].id .. '","created":' .. placed[i + 1] .. '}'
  end
  return '{"stream":"' .. stream .. '","incidents":[' .. table.concat(incidents, ',') .. ']}'
end

-- {word, id, created, id, created...}; without flags for a duplicate.
local function route_answer(word, placed)
  local out = { word }
  for i = 1, #placed, 2 do
    out[#out + 1] = placed[i].id
    if word ~= 'duplicate' then out[#out + 1] = placed[i + 1] end
  end
  return out
end

-- Of an alert that was routed before (as stored, or in this very call), by its message or another; or that was seen long ago.
local function known_answer(alert, keys)
  local known = alert.known
  if not known then return { 'duplicate', unpack(cjson.decode(redis.call('HGET', keys[5], alert.id) or '[]')) } end
  if type(known) == 'string' then
    known = cjson.decode(known)
    known.placed = {}
    for i, incident in ipairs(known.incidents) do
      known.placed[2 * i - 1], known.placed[2 * i] = incident, incident.created
    end
  end
  return route_answer(known.stream == alert.stream and 'routed' or 'duplicate', known.placed)
end

-- One answer for each, as if they were routed one after the other.
local function route_alerts(keys, args, alerts, now, prefix, node)
  local ids, changed, made, first = {}, {}, {}, {} -- first: of this call, by alert id
  for i, alert in ipairs(alerts) do ids[i] = alert.id end
  local known, groups = many('HMGET', keys[1], ids), groups_of(keys[3], alerts, args)
  for i, alert in ipairs(alerts) do
    alert.known = known[i] or first[alert.id]
    if not alert.known and not redis.call('ZSCORE', keys[2], alert.id) then
      alert.placed = place(alert, args, groups, changed, made, now)
      first[alert.id] = alert
    end
  end
  if #made > 0 then name_made(made, keys[4], keys[6], prefix, node) end
  local pushed, stored, answers = {}, {}, {}
  for key, group in pairs(changed) do
    pushed[#pushed + 1], pushed[#pushed + 2] = key, group.incident.id .. '|' .. digits(group.expires)
  end
  for i, alert in ipairs(alerts) do
    if alert.placed then
      stored[#stored + 1], stored[#stored + 2] = alert.id, routing_text(alert.stream, alert.placed)
    end
    answers[i] = alert.placed and route_answer('new', alert.placed) or known_answer(alert, keys)
  end
  many('HSET', keys[3], pushed)
  many('HSET', keys[1], stored)
  return answers
end

-- KEYS: routed, seen, group, ids, seen_in, perhaps owner. ARGV: alert id, stream id, now_ms, prefix or prefix|node, then group key, window_ms pairs.
local function route(keys, args)
  local now, prefix, node = whole(args[3]), prefix_node(args[4])
  if #args < 6 or #args % 2 ~= 0 or args[1] == '' or prefix == '' or not now then
    return redis.error_reply('ERR route: wrong arguments')
  end
  if not pairs_good(args, 5, #args) then return redis.error_reply('ERR route: wrong window') end
  return route_alerts(keys, args, { { id = args[1], stream = args[2], from = 5, to = #args } }, now, prefix, node)[1]
end

-- KEYS: as route. ARGV: now_ms, prefix or prefix|node, then for each alert: its id, stream id, how many pairs, and these. One answer for each.
local function route_all(keys, args)
  local now, prefix, node = whole(args[1]), prefix_node(args[2])
  local alerts, at, good = {}, 3, now and prefix ~= '' and #args > 2
  while good and at <= #args do
    local alert = { id = args[at], stream = args[at + 1], from = at + 3, to = at + 2 + 2 * (whole(args[at + 2]) or 0), known = false, placed = false }
    good = alert.id ~= '' and pairs_good(args, alert.from, alert.to)
    alerts[#alerts + 1] = alert
    at = alert.to + 1
  end
  if not good then return redis.error_reply('ERR route_all: wrong arguments') end
  return route_alerts(keys, args, alerts, now, prefix, node)
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

-- Out of the queue. Of these messages ({stream, alert, outcome}) those that had not been before.
local function take_out(queue, group, messages)
  local out, acked = {}, {}
  for _, message in ipairs(messages) do
    local mine = redis.call('XACK', queue, group, message.stream) == 1
    if mine then acked[#acked + 1] = message.stream end
    if mine or redis.call('XDEL', queue, message.stream) == 1 then out[#out + 1] = message end
  end
  many('XDEL', queue, acked)
  return out
end

-- The ids in what routing_text wrote, as a JSON array; nil when it is another message's.
local function routed_ids(text, stream)
  if not text or not string.find(text, '"stream":"' .. stream .. '"', 1, true) then return nil end
  local ids = {}
  for id in string.gmatch(text, '"id":"([^"]*)"') do ids[#ids + 1] = '"' .. id .. '"' end
  return '[' .. table.concat(ids, ',') .. ']'
end

-- Ends the routing of these very messages (another message with the same alert id keeps its own) and remembers their alerts.
local function remember(keys, messages, now)
  local routed, stamp = keys[2], digits(now)
  local alerts, over, new, into, at = {}, {}, {}, {}, 0
  for _, message in ipairs(messages) do
    if message.alert ~= '' then alerts[#alerts + 1] = message.alert end
  end
  local known = many('HMGET', routed, alerts)
  for _, message in ipairs(messages) do
    local alert, ids = message.alert, nil
    if alert ~= '' then
      at = at + 1
      ids = routed_ids(known[at], message.stream)
    end
    if ids then over[#over + 1] = alert end
    if alert ~= '' and (message.outcome == 'attached' or message.outcome == 'suppressed') then
      new[#new + 1], new[#new + 2] = stamp, alert
      if ids then
        into[#into + 1], into[#into + 2] = alert, ids
      end
    end
  end
  many('HDEL', routed, over)
  many('ZADD', keys[3], new)
  many('HSET', keys[4], into)
end

local function forget_old(keys, now, keep)
  local seen, seen_in = keys[3], keys[4]
  local before = '(' .. digits(math.max(now - keep, 0))
  local old = redis.call('ZRANGEBYSCORE', seen, '-inf', before, 'LIMIT', 0, TRIM_AT_ONCE)
  if #old == 0 then return end
  redis.call('ZREM', seen, unpack(old))
  redis.call('HDEL', seen_in, unpack(old))
end

-- What has come out of the queue: remembered and counted.
local function settle(keys, messages, now, keep)
  local counted = {}
  remember(keys, messages, now)
  for _, message in ipairs(messages) do counted[message.outcome] = (counted[message.outcome] or 0) + 1 end
  for outcome, n in pairs(counted) do redis.call('HINCRBY', keys[5], outcome, n) end
  forget_old(keys, now, keep)
end

local OUTCOMES = { attached = 'plain', duplicate = 'plain', suppressed = 'plain', split = 'more', dead = 'more' }

-- KEYS: queue, routed, seen, seen_in, counts, dead.
-- ARGV: group, stream id, alert id, outcome, now_ms, keep_ms, then parts (split) or reason (dead; raw fields may follow).
local function done(keys, args)
  local queue, dead, outcome = keys[1], keys[6], args[4]
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
  local messages = take_out(queue, args[1], { { stream = args[2], alert = args[3], outcome = outcome } })
  if #messages == 0 then return 0 end
  for _, fields in ipairs(parts) do redis.call('XADD', queue, '*', unpack(fields)) end
  if outcome == 'dead' then redis.call('XADD', dead, '*', unpack(dead_fields(args, raw, now))) end
  settle(keys, messages, now, keep)
  return 1
end

-- KEYS: queue, routed, seen, seen_in, counts. ARGV: group, now_ms, keep_ms, then stream id, alert id, outcome (one with nothing more to it) for each.
-- How many this call has ended; the others had been before.
local function done_all(keys, args)
  local now, keep, messages = whole(args[2]), whole(args[3]), {}
  for i = 4, #args, 3 do
    if OUTCOMES[args[i + 2]] ~= 'plain' then return redis.error_reply('ERR done_all: wrong arguments') end
    messages[#messages + 1] = { stream = args[i], alert = args[i + 1], outcome = args[i + 2] }
  end
  if not now or not keep then return redis.error_reply('ERR done_all: wrong arguments') end
  messages = take_out(keys[1], args[1], messages)
  if #messages > 0 then settle(keys, messages, now, keep) end
  return #messages
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
local function hold(keys, args) return redis.call('HSET', keys[1], args[1], args[2]) end

-- KEYS: contained. ARGV: field.
local function unhold(keys, args) return redis.call('HDEL', keys[1], args[1]) end

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
  local made = { {} }
  name_made(made, keys[1], keys[2], prefix_node(args[1]))
  return made[1].id
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

-- KEYS: owner. ARGV: node, incidents. Those that are the node's become nobody's; how many they were.
local function give_up(keys, args)
  local node, mine = table.remove(args, 1), {}
  for i, owner in ipairs(many('HMGET', keys[1], args)) do if owner == node then mine[#mine + 1] = args[i] end end
  many('HDEL', keys[1], mine)
  return #mine
end

-- KEYS: inbox, nonces. ARGV: message id, nonce, now_ms, keep_ms. 1: it is the caller's to carry out, 0: somebody else took it, -1: replayed.
local function take(keys, args)
  local now, keep = whole(args[3]), whole(args[4])
  if not now or not keep or not args[2] then return redis.error_reply('ERR take: wrong arguments') end
  if redis.call('XDEL', keys[1], args[1]) == 0 then return 0 end
  redis.call('ZREMRANGEBYSCORE', keys[2], '-inf', digits(math.max(now - keep, 0)))
  return redis.call('ZADD', keys[2], 'NX', digits(now), args[2]) == 1 and 1 or -1
end

-- That entry's fields by name; nothing when it is not here.
local function entry_of(journal, seq)
  local item, entry = redis.call('XREVRANGE', journal, entry_id(seq), '-', 'COUNT', 1)[1], {}
  local at = item and string.match(item[1], '%d+') - 1
  for i = 1, item and #item[2] or 0, 2 do
    local letter = string.lower(item[2][i])
    if letter == 'e' then at = at + 1 end
    if at == seq then entry[letter] = item[2][i + 1] end
  end
  return entry
end

-- An item's fields but for the body of that entry.
local function without_body(item, seq)
  local at, out = string.match(item[1], '%d+') - 1, {}
  for i = 1, #item[2], 2 do
    local letter = string.lower(item[2][i])
    if letter == 'e' then at = at + 1 end
    if at ~= seq or letter ~= 'b' then out[#out + 1], out[#out + 2] = item[2][i], item[2][i + 1] end
  end
  return out
end

-- KEYS: journal, state, the new journal's place for the time of this call. ARGV: seq, seq of the entry that says its body is removed.
-- The journal with the same ids, heads and leaves, without that body, in the old one's place; the state goes, because it may tell of it.
-- 1: done, 0: the journal is not here, the body was gone already, or it has left Redis (retire): then only the evidence log has it.
local function remove(keys, args)
  local journal, fresh, call = keys[1], keys[3], redis.call
  local seq, by = whole(args[1]), whole(args[2])
  if not seq or not by or by <= seq then return redis.error_reply('ERR remove: wrong arguments') end
  if call('EXISTS', journal) == 0 then return 0 end
  local says = entry_of(journal, by).e or ''
  if not string.find(says, '"step":"' .. digits(seq) .. '"', 1, true) or not string.find(says, '"type":"body.removing"', 1, true) then
    return redis.error_reply('FENCE no entry ' .. digits(by) .. ' says that the body of ' .. digits(seq) .. ' is removed')
  end
  local there = entry_of(journal, seq).b
  if there then
    local page -- the last one read
    local from = '-'
    call('DEL', fresh)
    repeat
      page = call('XRANGE', journal, from, '+', 'COUNT', 100)
      for _, item in ipairs(page) do
        call('XADD', fresh, item[1], unpack(without_body(item, seq)))
        from = '(' .. item[1]
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
  local seq, hash = item_end(last)
  if #args ~= 4 or args[3] == '' then return redis.error_reply('ERR retire: wrong arguments') end
  if not last or seq ~= tonumber(args[1]) or hash ~= args[2] then return redis.error_reply('FENCE last=' .. entry_id(seq) .. ' h=' .. hash) end
  for i = 1, #last[2], 2 do if last[2][i] == 'n' then return 0 end end
  redis.call('UNLINK', keys[1])
  redis.call('XADD', keys[1], entry_id(seq), 'h', args[2], 'n', args[3])
  redis.call('SET', keys[2], args[4])
  return 1
end

local function register(flags, list)
  for i = 1, #list, 2 do redis.register_function { function_name = list[i], callback = list[i + 1], flags = flags } end
end
register({}, {
  'tocsin_append', append, 'tocsin_remove', remove, 'tocsin_route', route, 'tocsin_route_all', route_all, 'tocsin_revive', revive,
  'tocsin_hold', hold, 'tocsin_budget', budget, 'tocsin_open_id', open_id,
})
-- What only ends or removes things goes on when memory is full; which is no reason to be called dead, nor to leave a dead node's incidents alone.
register({ 'allow-oom' }, {
  'tocsin_done', done, 'tocsin_done_all', done_all, 'tocsin_ungroup', ungroup, 'tocsin_unhold', unhold, 'tocsin_let_go', let_go,
  'tocsin_beat', beat, 'tocsin_steady', steady, 'tocsin_leave', leave, 'tocsin_brake', brake, 'tocsin_at_least', at_least, 'tocsin_claim', claim,
  'tocsin_give', give, 'tocsin_give_up', give_up, 'tocsin_retire', retire, 'tocsin_take', take,
})
register({ 'no-writes' }, { 'tocsin_tally', tally })
register({ 'no-writes', 'allow-stale' }, { 'tocsin_version', function() return 16 end })
