-- Which of these ids are not queued now?
-- KEYS  1 stream  2 ids (message id -> entry)
-- ARGV  the ids
-- Returns those of them that neither wait nor are in flight, in their order
-- One script, because the answer must be of one moment: an id asked twice in two calls may have moved between them.
local stream, ids = KEYS[1], KEYS[2]
-- As many ids as entries: the hash can be believed. Otherwise somebody deleted or added by hand: look at each entry.
local exact = redis.call('XLEN', stream) == redis.call('HLEN', ids)
local gone = {}
for _, id in ipairs(ARGV) do
  local entry = redis.call('HGET', ids, id)
  if entry and not exact and #redis.call('XRANGE', stream, entry, entry) == 0 then
    redis.call('HDEL', ids, id)
    entry = false
  end
  if not entry then gone[#gone + 1] = id end
end
return gone
