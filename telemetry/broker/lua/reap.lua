-- Take over entries whose lease has lapsed, without spending an attempt.
-- KEYS  1 stream
-- ARGV  1 group  2 consumer  3 lease ms  4 cursor  5 how many at most
-- Returns {next cursor, {entry, deliveries}, ..}
-- One script, because the number of deliveries must be that of the moment of the takeover: counting compares with it.
local stream, group, me = KEYS[1], ARGV[1], ARGV[2]
local claimed = redis.call('XAUTOCLAIM', stream, group, me, ARGV[3], ARGV[4], 'COUNT', ARGV[5], 'JUSTID')
local taken = {claimed[1]}
for _, entry in ipairs(claimed[2]) do
  local held = redis.call('XPENDING', stream, group, entry, entry, 1, me)
  if #held > 0 then taken[#taken + 1] = {entry, held[1][4]} end
end
return taken
