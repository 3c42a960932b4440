-- Take over entries whose lease has lapsed, without spending an attempt.
-- KEYS  1 stream  2 ids (message id -> entry)  3 rows (entry -> rows)
-- ARGV  1 group  2 consumer  3 lease ms  4 cursor  5 how many at most
-- Returns {next cursor, {entry, deliveries}, ..}
-- One script, because the number of deliveries must be that of the moment of the takeover: counting compares with it.
local stream, ids, rows, group, me = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]

local function forget(entry) -- its id is not known any more: look for it, deletions by hand are rare
  redis.call('HDEL', rows, entry)
  local known = redis.call('HGETALL', ids)
  for i = 1, #known, 2 do
    if known[i + 1] == entry then redis.call('HDEL', ids, known[i]) end
  end
end

local claimed = redis.call('XAUTOCLAIM', stream, group, me, ARGV[3], ARGV[4], 'COUNT', ARGV[5], 'JUSTID')
for _, entry in ipairs(claimed[3] or {}) do forget(entry) end -- since Redis 7.0: was pending, but deleted by hand
local taken = {claimed[1]}
for _, entry in ipairs(claimed[2]) do
  local held = redis.call('XPENDING', stream, group, entry, entry, 1, me)
  if #held > 0 then taken[#taken + 1] = {entry, held[1][4]} end
end
return taken
