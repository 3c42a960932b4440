-- Keep one dead letter.
-- KEYS  1 dead letters (stream)  2 origins (where a letter came from -> its entry)
-- ARGV  1 letters at most  2 origin  3.. field, value, ..
-- Returns the letter's entry, or "" when the room for dead letters is used up
-- One script, because a message whose burial is repeated (the settlement that follows was lost) must leave one letter,
-- and because the room for dead letters is bounded like the queue.
local dead, origins, origin = KEYS[1], KEYS[2], ARGV[2]
local before = redis.call('HGET', origins, origin)
if before and #redis.call('XRANGE', dead, before, before) > 0 then return before end
if redis.call('XLEN', dead) >= tonumber(ARGV[1]) then return '' end
local entry = redis.call('XADD', dead, '*', unpack(ARGV, 3))
redis.call('HSET', origins, origin, entry)
return entry
