-- Forget one dead letter.
-- KEYS  1 dead letters (stream)  2 origins (where a letter came from -> its entry)
-- ARGV  1 entry
-- Returns 1 if it was there, else 0
-- One script, because the letter and the memory of its origin go together.
local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if #found == 0 then return 0 end
local fields = found[1][2]
for i = 1, #fields, 2 do
  if fields[i] == 'origin' and redis.call('HGET', KEYS[2], fields[i + 1]) == ARGV[1] then
    redis.call('HDEL', KEYS[2], fields[i + 1])
  end
end
return redis.call('XDEL', KEYS[1], ARGV[1])
