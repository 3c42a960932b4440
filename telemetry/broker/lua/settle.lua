-- Be done with messages: acknowledge, delete, forget the ids.
-- KEYS  1 stream  2 ids (message id -> entry)  3 rows (entry -> rows)  4 stats
-- ARGV  1 group  2 "acked" | "dead", the total to raise  3.. entry, message id, rows, ..
-- Returns how many were pending until now (a repeated call returns 0)
-- One script, because XLEN is the bound: an entry acknowledged but not deleted would take up room for ever. The only
-- script that does not ask who owns the entry: the work is done, whoever did it.
local stream, ids, rows, stats = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, total = ARGV[1], ARGV[2]
local settled, sum = 0, 0
for i = 3, #ARGV, 3 do
  local entry, id = ARGV[i], ARGV[i + 1]
  if redis.call('XACK', stream, group, entry) == 1 then
    settled = settled + 1
    sum = sum + tonumber(ARGV[i + 2])
  end
  redis.call('XDEL', stream, entry)
  redis.call('HDEL', rows, entry)
  if redis.call('HGET', ids, id) == entry then redis.call('HDEL', ids, id) end
end
if settled > 0 then
  redis.pcall('HINCRBY', stats, total, settled)
  redis.pcall('HINCRBY', stats, total .. '_rows', string.format('%.0f', sum))
end
return settled
