-- Be done with messages: acknowledge, delete, forget the ids.
-- KEYS  1 stream  2 ids (message id -> entry)  3 rows (entry -> rows)  4 stats
-- ARGV  1 group  2 "acked" | "dead", the total to raise  3.. n entries, then n message ids ("" for none)
-- Returns how many were pending until now (a repeated call returns 0)
-- One script, because XLEN is the bound: an entry acknowledged but not deleted would take up room for ever. The only
-- script that does not ask who owns the entry: the work is done, whoever did it.
local stream, ids, rows, stats = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, total = ARGV[1], ARGV[2]
local n = (#ARGV - 2) / 2
local settled = redis.call('XACK', stream, group, unpack(ARGV, 3, 2 + n))
redis.call('XDEL', stream, unpack(ARGV, 3, 2 + n))
local sum = 0 -- of rows that were counted when published and are settled for the first time
for _, known in ipairs(redis.call('HMGET', rows, unpack(ARGV, 3, 2 + n))) do
  if known then sum = sum + tonumber(known) end
end
redis.call('HDEL', rows, unpack(ARGV, 3, 2 + n))
local forget = {}
for i, entry in ipairs(redis.call('HMGET', ids, unpack(ARGV, 3 + n))) do
  if entry == ARGV[2 + i] then forget[#forget + 1] = ARGV[2 + n + i] end
end
if #forget > 0 then redis.call('HDEL', ids, unpack(forget)) end
if settled > 0 then
  redis.pcall('HINCRBY', stats, total, settled)
  redis.pcall('HINCRBY', stats, total .. '_rows', string.format('%.0f', sum))
end
return settled
