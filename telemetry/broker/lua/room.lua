-- Is there room? Asked by a producer that waits, so it carries no body.
-- KEYS  1 stream  2 capacity  3 stats
-- ARGV  1 ms waited since last said (0: say nothing)  2 "1" to probe for memory too
-- Returns {depth, capacity or -1, 1 if the server is out of memory else 0}
-- One script, because depth and capacity must be of one moment, and one round trip is all that a poll may cost.
local full = 0
if tonumber(ARGV[1]) > 0 or ARGV[2] == '1' then
  local reply = redis.pcall('HINCRBY', KEYS[3], 'backpressure_ms', ARGV[1])
  if type(reply) == 'table' and reply.err and string.find(reply.err, 'OOM', 1, true) then full = 1 end
end
return {redis.call('XLEN', KEYS[1]), tonumber(redis.call('GET', KEYS[2]) or -1), full}
