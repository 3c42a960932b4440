-- Count one attempt at an entry that was taken over, and hand out its fields.
-- KEYS  1 stream  2 ids (message id -> entry)  3 rows (entry -> rows)  4 stats
-- ARGV  1 group  2 consumer  3 entry  4 deliveries known from the takeover  5 attempts at most
-- Returns {"run" | "exhausted", deliveries, fields} or {"lost"} (another consumer has it) or {"gone"} (deleted)
-- One script, because counting must be fenced by the ownership it checks, and so that a call whose reply was lost
-- can be repeated: a count that is already one above the known one is not raised again.
local stream, ids, rows, stats = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, me, entry = ARGV[1], ARGV[2], ARGV[3]
local known, most = tonumber(ARGV[4]), tonumber(ARGV[5])
local held = redis.pcall('XPENDING', stream, group, entry, entry, 1, me)
if held.err or #held == 0 then return {'lost'} end
local found = redis.call('XRANGE', stream, entry, entry)
if #found == 0 then
  redis.call('XACK', stream, group, entry)
  redis.call('HDEL', rows, entry)
  local ids_of_all = redis.call('HGETALL', ids) -- its own is not known any more
  for i = 1, #ids_of_all, 2 do
    if ids_of_all[i + 1] == entry then redis.call('HDEL', ids, ids_of_all[i]) end
  end
  return {'gone'}
end
local count = held[1][4]
if count ~= known + 1 then
  if count >= most then return {'exhausted', count, found[1][2]} end
  count = count + 1
  redis.call('XCLAIM', stream, group, me, 0, entry, 'RETRYCOUNT', count, 'JUSTID')
  redis.pcall('HINCRBY', stats, 'redelivered', 1)
end
return {'run', count, found[1][2]}
