-- Become a consumer of the group, and learn what the server believes this consumer holds.
-- KEYS  1 stream
-- ARGV  1 group  2 consumer  3 how many entries at most
-- Returns {{entry, idle ms, deliveries}, ..} of this consumer
-- One script, because a group created in a second step could miss what was added between; XPENDING instead of
-- XREADGROUP .. 0, because that would count a delivery each time it is asked.
local stream, group, me = KEYS[1], ARGV[1], ARGV[2]
local found = false
local groups = redis.pcall('XINFO', 'GROUPS', stream)
if not groups.err then
  for _, one in ipairs(groups) do
    if one[2] == group then found = true end
  end
end
if not found then redis.call('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM') end
-- Makes the consumer, also when out of memory, or shows that it lives (see retire.lua); nothing can lie behind that entry.
redis.call('XREADGROUP', 'GROUP', group, me, 'COUNT', 1, 'STREAMS', stream, '18446744073709551615-18446744073709551614')
local held = {}
for _, one in ipairs(redis.call('XPENDING', stream, group, '-', '+', ARGV[3], me)) do
  held[#held + 1] = {one[1], one[3], one[4]}
end
return held
