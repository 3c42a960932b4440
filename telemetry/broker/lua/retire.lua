-- Remove consumers that own nothing.
-- KEYS  1 stream
-- ARGV  1 group  2 the consumer to remove, or "" for all but the caller's  3 the caller's  4 idle ms from which on
-- Returns how many were removed
-- One script, because XGROUP DELCONSUMER destroys what the consumer still holds: "owns nothing" must be checked in it.
-- Who looks for others shows itself first, because before Redis 7.2 reads that find nothing leave a consumer as idle as
-- it was. Reading its own list behind the last possible entry does: it counts nothing and makes a consumer that is gone.
local stream, group, name, me, least = KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local behind_all = '18446744073709551615-18446744073709551614'
if name == '' then redis.pcall('XREADGROUP', 'GROUP', group, me, 'COUNT', 1, 'STREAMS', stream, behind_all) end
local consumers = redis.pcall('XINFO', 'CONSUMERS', stream, group)
if consumers.err then return 0 end
local removed = 0
for _, one in ipairs(consumers) do
  local facts = {}
  for i = 1, #one, 2 do facts[one[i]] = one[i + 1] end
  local meant = facts.name == name or (name == '' and facts.name ~= me)
  if meant and facts.pending == 0 and facts.idle >= least then
    redis.call('XGROUP', 'DELCONSUMER', stream, group, facts.name)
    removed = removed + 1
  end
end
return removed
