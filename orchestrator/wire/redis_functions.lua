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
local MESSAGES_AT_ONCE = 1000 -- that leave the queue by one command

-- Lua 5.1 would write 1e+15 for large numbers.
local function digits(n) return string.format('%.0f', n) end

local function whole(text)
  local n = tonumber(text)
  if not n or n < 0 or n % 1 ~= 0 then return nil end
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

-- Where in args the alerts begin, and then where they end; how many. An alert: its id, its stream id, how many pairs of group key and window, and these.
-- False when one is none.
local function alerts_begin(args, from)
  local begins, n, at, words = {}, 0, from, #args
  while at <= words do
    local after = at + 3 + 2 * (whole(args[at + 2]) or 0)
    if args[at] == '' or after < at + 5 or after > words + 1 then return false end
    for i = at + 4, after, 2 do if not whole(args[i]) then return false end end
    n = n + 1
    begins[n], at = at, after
  end
  begins[n + 1] = at
  return n > 0 and begins, n
end

-- The groups that alerts name: {name...}, at which place each stands there, its incident as it is in Redis, until when; false and 0 for none.
local function groups_of(key, args, begins, n)
  local names, place, incidents, expires, count = {}, {}, {}, {}, 0
  for alert = 1, n do
    for i = begins[alert] + 3, begins[alert + 1] - 1, 2 do
      local name = args[i]
      if name ~= '' and not place[name] then
        count = count + 1
        names[count], place[name], incidents[count], expires[count] = name, count, false, 0
      end
    end
  end
  for i, value in ipairs(many('HMGET', key, names)) do
    local incident, over
    if value then incident, over = string.match(value, '^(.+)|(%d+)$') end
    if incident then incidents[i], expires[i] = incident, tonumber(over) end
  end
  return names, place, incidents, expires
end

-- As cjson would write it; there is nothing to escape in ids. Of an answer: {word, id, created, id, created...}.
local function routing_text(stream, answer)
  local text = '{"stream":"' .. stream .. '","incidents":[{"id":"' .. answer[2] .. '","created":' .. answer[3]
  for i = 4, #answer, 2 do text = text .. '},{"id":"' .. answer[i] .. '","created":' .. answer[i + 1] end
  return text .. '}]}'
end

-- The answer to an alert that had this one before, by this very message or another. Without flags for a duplicate.
local function again(same, answer)
  local out = { same and 'routed' or 'duplicate' }
  for i = 2, #answer do
    if same or i % 2 == 0 then out[#out + 1] = answer[i] end
  end
  return out
end

-- The answer in what was stored of an alert (cjson's order of names is possible); and whose it was.
local function stored_answer(text)
  local known, answer = cjson.decode(text), { 'new' }
  for i, incident in ipairs(known.incidents) do answer[2 * i], answer[2 * i + 1] = incident.id, incident.created end
  return answer, known.stream
end

-- One answer for each, as if they were routed one after the other. An alert goes, pair by pair, to the group's live incident, whose window this pushes forward,
-- else to a new one.
local function route_alerts(keys, args, begins, n, now, prefix, node)
  local call, format, ids = redis.call, string.format, {}
  for i = 1, n do ids[i] = args[begins[i]] end
  local known, names, place, incidents, expires = many('HMGET', keys[1], ids), groups_of(keys[3], args, begins, n)
  local answers, stored, first, named, owned = {}, {}, {}, {}, {} -- first: of an alert, in this call; named: by which alert that was placed a group was last
  local before, made = nil, 0 -- the last id's number, and how many are new
  for i = 1, n do
    local id, at = ids[i], begins[i]
    local stream, same = args[at + 1], first[id]
    if known[i] then
      local answer, whose = stored_answer(known[i])
      answers[i] = again(whose == stream, answer)
    elseif same then
      answers[i] = again(args[begins[same] + 1] == stream, answers[same])
    elseif call('ZSCORE', keys[2], id) then
      answers[i] = { 'duplicate', unpack(cjson.decode(call('HGET', keys[5], id) or '[]')) }
    else
      local answer, to = { 'new' }, 2
      for pair = at + 3, begins[i + 1] - 1, 2 do
        local group, over, created = place[args[pair]], now + args[pair + 1], 0
        local incident
        if group and (named[group] == i or expires[group] > now) then -- what this very alert has named a window of 0 would not find again
          incident = incidents[group]
          if named[group] ~= i and over > expires[group] then expires[group] = over end
        else
          before = before or tonumber(call('GET', keys[4]) or '0')
          made = made + 1
          incident, created = format('%s-%06d', prefix, before + made), 1
          owned[2 * made - 1], owned[2 * made] = incident, node
          if group then incidents[group], expires[group] = incident, over end
        end
        if group then named[group] = i end
        answer[to], answer[to + 1], to = incident, created, to + 2
      end
      answers[i], first[id] = answer, i
      stored[#stored + 1], stored[#stored + 2] = id, routing_text(stream, answer)
    end
  end
  if made > 0 then call('SET', keys[4], digits(before + made)) end -- INCRBY and ZMSCORE are not among what acl.c has let the engine's user do
  if keys[6] and node then many('HSET', keys[6], owned) end
  local pushed, shown, text = {}, nil, nil
  for group, name in ipairs(names) do
    if named[group] then
      if expires[group] ~= shown then shown, text = expires[group], digits(expires[group]) end
      pushed[#pushed + 1], pushed[#pushed + 2] = name, incidents[group] .. '|' .. text
    end
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
  local words = { args[1], args[2], (#args - 4) / 2, unpack(args, 5) }
  local begins, n = alerts_begin(words, 1)
  if not begins then return redis.error_reply('ERR route: wrong window') end
  return route_alerts(keys, words, begins, n, now, prefix, node)[1]
end

-- KEYS: as route. ARGV: now_ms, prefix or prefix|node, then the alerts. One answer for each.
local function route_all(keys, args)
  local now, prefix, node = whole(args[1]), prefix_node(args[2])
  local begins, n = alerts_begin(args, 3)
  if not now or prefix == '' or not begins then return redis.error_reply('ERR route_all: wrong arguments') end
  return route_alerts(keys, args, begins, n, now, prefix, node)
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

-- The ids in what routing_text wrote, as a JSON array; nil when it is another message's.
local function routed_ids(text, stream)
  local whose, id = string.match(text, '^{"stream":"([^"]*)","incidents":%[{"id":"([^"]*)","created":%d}%]}$') -- nearly always
  if whose then return whose == stream and '["' .. id .. '"]' or nil end
  if not string.find(text, '"stream":"' .. stream .. '"', 1, true) then return nil end
  local ids = {}
  for one in string.gmatch(text, '"id":"([^"]*)"') do ids[#ids + 1] = '"' .. one .. '"' end
  return '[' .. table.concat(ids, ',') .. ']'
end

-- Out of the queue. Which of these messages had not been before, by their places in the list: true for all. Those had not that lay there, and those that
-- the group has under way although they were trimmed away. Whoever ends a message deletes and acknowledges it in one, so that one which lies there is under
-- way too; but not where the group was made anew meanwhile: then as many of the others are counted as must have lain there, first those whose routing is
-- there yet, which nobody can have ended. known: what is routed for each.
local function take_out(queue, group, streams, known)
  local there, mine, acked, others = redis.call('XDEL', queue, unpack(streams)), {}, {}, {}
  if there == #streams then return redis.call('XACK', queue, group, unpack(streams)) and true end
  for i, stream in ipairs(streams) do
    if redis.call('XACK', queue, group, stream) == 1 then
      mine[i], acked[stream], there = true, true, there - 1
    else
      local own = known[i] and not acked[stream] and routed_ids(known[i], stream)
      table.insert(others, own and 1 or #others + 1, i)
    end
  end
  for k = 1, math.min(there, #others) do mine[others[k]] = true end
  return mine
end

local function forget_old(keys, now, keep)
  local seen, seen_in = keys[3], keys[4]
  local before = '(' .. digits(math.max(now - keep, 0))
  local old = redis.call('ZRANGEBYSCORE', seen, '-inf', before, 'LIMIT', 0, TRIM_AT_ONCE)
  if #old == 0 then return end
  redis.call('ZREM', seen, unpack(old))
  redis.call('HDEL', seen_in, unpack(old))
end

-- Takes messages (from..to of args: stream id, alert id, outcome of each) out of the queue; those that had not been before are counted, their routing ends
-- (another message with the same alert id keeps its own) and their alerts are remembered. How many.
local function settle(keys, group, args, from, to, now, keep)
  local routed, streams, alerts, at, ended = keys[2], {}, {}, 0, 0
  for i = from, to, 3 do
    at = at + 1
    streams[at], alerts[at] = args[i], args[i + 1]
  end
  local known = redis.call('HMGET', routed, unpack(alerts))
  local mine = take_out(keys[1], group, streams, known)
  local stamp, over, new, into, counted = digits(now), {}, {}, {}, {}
  for i = 1, at do
    local alert, outcome = alerts[i], args[from + 3 * i - 1]
    if mine == true or mine[i] then
      local ids = known[i] and routed_ids(known[i], streams[i])
      ended, counted[outcome] = ended + 1, (counted[outcome] or 0) + 1
      if ids then over[#over + 1] = alert end
      if alert ~= '' and (outcome == 'attached' or outcome == 'suppressed') then
        new[#new + 1], new[#new + 2] = stamp, alert
        if ids then into[#into + 1], into[#into + 2] = alert, ids end
      end
    end
  end
  if ended == 0 then return 0 end
  many('HDEL', routed, over)
  many('ZADD', keys[3], new)
  many('HSET', keys[4], into)
  for outcome, n in pairs(counted) do redis.call('HINCRBY', keys[5], outcome, n) end
  forget_old(keys, now, keep)
  return ended
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
  if settle(keys, args[1], args, 2, 4, now, keep) == 0 then return 0 end
  for _, fields in ipairs(parts) do redis.call('XADD', queue, '*', unpack(fields)) end
  if outcome == 'dead' then redis.call('XADD', dead, '*', unpack(dead_fields(args, raw, now))) end
  return 1
end

-- KEYS: queue, routed, seen, seen_in, counts. ARGV: group, now_ms, keep_ms, then stream id, alert id, outcome (one with nothing more to it) for each.
-- How many this call has ended; the others had been before.
local function done_all(keys, args)
  local now, keep, ended, words = whole(args[2]), whole(args[3]), 0, #args
  for i = 4, words, 3 do
    if OUTCOMES[args[i + 2]] ~= 'plain' then return redis.error_reply('ERR done_all: wrong arguments') end
  end
  if not now or not keep then return redis.error_reply('ERR done_all: wrong arguments') end
  for i = 4, words, 3 * MESSAGES_AT_ONCE do
    ended = ended + settle(keys, args[1], args, i, math.min(i + 3 * MESSAGES_AT_ONCE - 1, words), now, keep)
  end
  return ended
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
  local prefix, node = prefix_node(args[1])
  local number = tonumber(redis.call('GET', keys[1]) or '0') + 1
  local id = string.format('%s-%06d', prefix, number)
  redis.call('SET', keys[1], digits(number))
  if keys[2] and node then redis.call('HSET', keys[2], id, node) end
  return id
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
register({ 'no-writes', 'allow-stale' }, { 'tocsin_version', function() return 18 end })
