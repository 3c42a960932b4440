-- Who holds the entries of a range.
-- KEYS  1 stream
-- ARGV  1 group  2 first entry  3 last entry  4 how many at most
-- Returns {{entry, consumer, idle ms, deliveries}, ..}
-- A script, because its reply has one shape on every server and driver; it only reads.
return redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
