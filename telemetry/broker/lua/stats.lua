-- What the queue holds, of one moment.
-- KEYS  1 stream  2 rows (entry -> rows)  3 capacity  4 stats  5 dead letters
-- ARGV  1 group  2 how many entries at most are looked at one by one
-- Returns {now ms, depth, in flight, oldest entry or "", depth rows, in-flight rows, capacity, dead letters,
--          {total, value, ..}, {{name, pending, idle ms}, ..}}; -1 for what cannot be told
-- One script, because depth = waiting + in flight must hold in the answer. Only reads; of the bodies it
-- looks at the oldest, and at all while entries are there that were added or deleted by hand.
local stream, rows, group, most = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2])
local depth = redis.call('XLEN', stream)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function rows_of(entry)
  local known = redis.call('HGET', rows, entry)
  if known then return tonumber(known) end
  local found = redis.call('XRANGE', stream, entry, entry)
  if #found == 0 then return 0 end
  local fields = found[1][2]
  for i = 1, #fields, 2 do
    if fields[i] == 'rows' and string.match(fields[i + 1], '^%d+$') then return tonumber(fields[i + 1]) end
  end
  return 0
end

local depth_rows = 0
if redis.call('HLEN', rows) == depth then
  for _, n in ipairs(redis.call('HVALS', rows)) do depth_rows = depth_rows + tonumber(n) end
elseif depth > most then
  depth_rows = -1
else
  local from = '-'
  while true do -- in pages, so that the bodies of the whole queue are never in memory together
    local page = redis.call('XRANGE', stream, from, '+', 'COUNT', 16)
    for _, one in ipairs(page) do depth_rows = depth_rows + rows_of(one[1]) end
    if #page < 16 then break end
    from = '(' .. page[#page][1]
  end
end

local in_flight, in_flight_rows = 0, 0
local summary = redis.pcall('XPENDING', stream, group)
if not summary.err then in_flight = summary[1] end
if in_flight > most then
  in_flight_rows = -1
elseif in_flight > 0 then
  for _, one in ipairs(redis.call('XPENDING', stream, group, '-', '+', in_flight)) do
    in_flight_rows = in_flight_rows + rows_of(one[1])
  end
end

local oldest = ''
local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)
if #first > 0 then oldest = first[1][1] end

local consumers = {}
local known = redis.pcall('XINFO', 'CONSUMERS', stream, group)
if not known.err then
  for _, one in ipairs(known) do
    local facts = {}
    for i = 1, #one, 2 do facts[one[i]] = one[i + 1] end
    consumers[#consumers + 1] = {facts.name, facts.pending, facts.idle}
  end
end
return {
  now, depth, in_flight, oldest, depth_rows, in_flight_rows,
  tonumber(redis.call('GET', KEYS[3])) or -1, redis.call('XLEN', KEYS[5]),
  redis.call('HGETALL', KEYS[4]), consumers,
}
