-- Give entries back, so that any consumer may take them over at once.
-- KEYS  1 stream
-- ARGV  1 group  2 consumer  3 lease ms  4.. entry, deliveries to set (-1: leave them), ..
-- Returns how many were this consumer's and are free now
-- One script, because only the owner may give back, and the count must be set back in the same step.
local stream, group, me, lease = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local free = 0
for i = 4, #ARGV, 2 do
  local entry, count = ARGV[i], ARGV[i + 1]
  local held = redis.pcall('XPENDING', stream, group, entry, entry, 1, me)
  if not held.err and #held > 0 then
    if count == '-1' then
      redis.call('XCLAIM', stream, group, me, 0, entry, 'IDLE', lease, 'JUSTID')
    else
      redis.call('XCLAIM', stream, group, me, 0, entry, 'IDLE', lease, 'RETRYCOUNT', count, 'JUSTID')
    end
    free = free + 1
  end
end
return free
