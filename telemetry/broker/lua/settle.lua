-- Be done with messages: acknowledge, delete, forget the ids.
-- KEYS  1 stream  2 ids (message id -> entry)  3 rows (entry -> rows)  4 stats
-- ARGV  1 group  2 "acked" | "dead", the total to raise  3.. n entries, then n message ids ("" for none)
-- Returns how many were in the queue until now (a repeated call returns 0)
-- One script, because XLEN is the bound: an entry acknowledged but not deleted would take up room for ever. The only
-- script that does not ask who owns the entry: the work is done, whoever did it.
local stream, ids, rows, stats = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, total = ARGV[1], ARGV[2]
local n = (#ARGV - 2) / 2

-- After FLUSHALL a new stream may have given the number of an old entry to another message: that one is left alone. To
-- look into an entry copies its body, so only what the ids do not vouch for is looked at: copies, what came by hand.
local function of_another(entry, id)
  local found = redis.call('XRANGE', stream, entry, entry)
  local fields = #found > 0 and found[1][2] or {}
  for i = 1, #fields, 2 do
    if fields[i] == 'id' and fields[i + 1] ~= id then return redis.call('HGET', ids, fields[i + 1]) == entry end
  end
  return false
end

local entries, forget = {}, {}
for i = 3, 2 + n do
  local entry, id = ARGV[i], ARGV[i + n]
  if redis.call('HGET', ids, id) == entry then
    forget[#forget + 1] = id
    entries[#entries + 1] = entry
  elseif not of_another(entry, id) then
    entries[#entries + 1] = entry
  end
end
if #entries == 0 then return 0 end

-- Pending without an entry: deleted by hand. An entry that is not pending: a failover lost its delivery.
local settled = redis.call('XACK', stream, group, unpack(entries))
settled = math.max(settled, redis.call('XDEL', stream, unpack(entries)))
local sum = 0 -- of rows that were counted when published and are settled for the first time
for _, known in ipairs(redis.call('HMGET', rows, unpack(entries))) do
  if known then sum = sum + tonumber(known) end
end
redis.call('HDEL', rows, unpack(entries))
if #forget > 0 then redis.call('HDEL', ids, unpack(forget)) end
if settled > 0 then
  redis.pcall('HINCRBY', stats, total, settled)
  redis.pcall('HINCRBY', stats, total .. '_rows', string.format('%.0f', sum))
end
return settled
