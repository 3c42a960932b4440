-- The values of one series beside each other: they differ little, and take 6.3 bytes per reading instead of 10.7. Each
-- COPY is some hundred thousandths of a day, so that time sorts as well behind the metric. Chunks that were compressed
-- before keep their order, and are read and filled as before.

ALTER TABLE samples SET (timescaledb.segmentby = '', timescaledb.orderby = 'gpu, metric, time');
