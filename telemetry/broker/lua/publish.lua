-- Admit one message while the queue has room.
-- KEYS  1 stream  2 ids (message id -> entry)  3 rows (entry -> rows)  4 capacity  5 stats
-- ARGV  1 group  2 capacity the producer was given  3 ms it has waited since it last said so
--       4 message id  5 rows  6.. field, value, .. as they go into the entry
-- Returns {status, depth, capacity}: 1 queued now, 0 still queued from before, -1 full, -2 server out of memory
-- One script, because "is there room" and "add" must not be two steps (the bound is exact under any number of
-- producers), and because a retry after a lost reply must find the id or the room, never a gap between them.
local stream, ids, rows, agreed_key, stats = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local group, id = ARGV[1], ARGV[4]
local depth = redis.call('XLEN', stream)
local agreed = redis.call('GET', agreed_key)
local capacity = tonumber(agreed)
local asked = tonumber(ARGV[2])

local entry = redis.call('HGET', ids, id)
if entry then
  if #redis.call('XRANGE', stream, entry, entry) > 0 then return {0, depth, capacity or asked} end
  redis.call('HDEL', ids, id) -- deleted by hand: the id is free again
  redis.call('HDEL', rows, entry)
end

-- The first producer sets the capacity; another value takes over only when the queue is empty, so that
-- producers of two opinions never exceed the bound that was agreed. A value that no producer wrote is a person's: it
-- holds until it is deleted.
if not capacity or (capacity ~= asked and depth == 0 and agreed == redis.call('HGET', stats, 'agreed_capacity')) then
  redis.pcall('SET', agreed_key, asked)
  redis.pcall('HSET', stats, 'agreed_capacity', asked)
  capacity = asked
end

local function waited()
  if tonumber(ARGV[3]) > 0 then redis.pcall('HINCRBY', stats, 'backpressure_ms', ARGV[3]) end
end

if depth >= capacity then
  waited()
  return {-1, depth, capacity}
end

local function memory_full(reply)
  return type(reply) == 'table' and reply.err and string.find(reply.err, 'OOM', 1, true)
end

local function group_exists()
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  if groups.err then return false end
  for _, one in ipairs(groups) do
    if one[2] == group then return true end
  end
  return false
end

if not group_exists() then
  local made = redis.pcall('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM')
  if memory_full(made) then return {-2, depth, capacity} end
  if made.err then return made end
end
local added = redis.pcall('XADD', stream, '*', unpack(ARGV, 6))
if memory_full(added) then return {-2, depth, capacity} end
if type(added) == 'table' and added.err then return added end
redis.call('HSET', ids, id, added)
redis.call('HSET', rows, added, ARGV[5])
redis.pcall('HINCRBY', stats, 'published', 1) -- a total that has no room must not fail what is queued by now
redis.pcall('HINCRBY', stats, 'published_rows', ARGV[5])
waited()
return {1, depth + 1, capacity}
