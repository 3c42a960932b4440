-- Renew the lease of entries that this consumer still owns: the heartbeat.
-- KEYS  1 stream
-- ARGV  1 group  2 consumer  3.. entries
-- Returns those of the entries that this consumer does not own any more
-- One script, because XCLAIM with min-idle 0 steals: ownership must be checked in the same step.
local stream, group, me = KEYS[1], ARGV[1], ARGV[2]
local lost = {}
for i = 3, #ARGV do
  local entry = ARGV[i]
  local held = redis.pcall('XPENDING', stream, group, entry, entry, 1, me)
  local kept = not held.err and #held > 0
    and #redis.call('XCLAIM', stream, group, me, 0, entry, 'JUSTID') > 0
  if not kept then lost[#lost + 1] = entry end
end
return lost
