-- Which of these ids are not queued now?
-- KEYS  1 stream  2 ids (message id -> entry)  3 rows (entry -> rows)
-- ARGV  the ids
-- Returns those of them that neither wait nor are in flight, in their order
-- One script, because the answer must be of one moment: an id asked twice in two calls may have moved between them.
local stream, ids, rows = KEYS[1], KEYS[2], KEYS[3]
-- To look whether an entry is there copies its body, so not all are looked at while there are as many ids as entries.
-- But as many may have been added by hand as were deleted: so some are, from another place on each time, and the first
-- that is found missing makes the numbers differ.
local exact = redis.call('XLEN', stream) == redis.call('HLEN', ids)
local look, from = 16, tonumber(redis.call('TIME')[2]) % #ARGV
local gone = {}
for i, id in ipairs(ARGV) do
  local entry = redis.call('HGET', ids, id)
  local looked_at = not exact or (i - 1 - from) % #ARGV < look
  if entry and looked_at and #redis.call('XRANGE', stream, entry, entry) == 0 then
    redis.call('HDEL', ids, id)
    redis.call('HDEL', rows, entry)
    entry = false
  end
  if not entry then gone[#gone + 1] = id end
end
return gone
