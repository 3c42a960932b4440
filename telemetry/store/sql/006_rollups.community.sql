-- Rollups: what avg, min, max, sum and count over long ranges are made of. Each is made of the one before it, and shows
-- what is not yet materialised as well (materialized_only = false). They follow samples, late readings included: the
-- policies have no start, so every change comes to be refreshed, however old it is. What is in doubt until then the
-- reader asks of samples (steps.sql, rollup_doubts).
-- Sums take values beyond 1e270 for 1e270: an overflow would end each refresh from then on.
-- Started some minutes after the migration, so that a database that lives shorter is never refreshed.

CREATE MATERIALIZED VIEW rollup_minute WITH (
    timescaledb.continuous,
    timescaledb.materialized_only = false,
    timescaledb.create_group_indexes = false,
    timescaledb.chunk_interval = '1 day'
) AS
SELECT time_bucket(INTERVAL '1 minute', time) AS bucket, gpu, metric, workload,
       count(*) AS readings, sum(least(greatest(value, -1e270), 1e270)) AS sum, min(value) AS min, max(value) AS max
FROM samples GROUP BY 1, gpu, metric, workload
WITH NO DATA;

CREATE MATERIALIZED VIEW rollup_hour WITH (
    timescaledb.continuous,
    timescaledb.materialized_only = false,
    timescaledb.create_group_indexes = false,
    timescaledb.chunk_interval = '30 days'
) AS
SELECT time_bucket(INTERVAL '1 hour', bucket) AS bucket, gpu, metric, workload,
       sum(readings)::bigint AS readings, sum(sum) AS sum, min(min) AS min, max(max) AS max
FROM rollup_minute GROUP BY 1, gpu, metric, workload
WITH NO DATA;

CREATE MATERIALIZED VIEW rollup_day WITH (
    timescaledb.continuous,
    timescaledb.materialized_only = false,
    timescaledb.create_group_indexes = false,
    timescaledb.chunk_interval = '360 days'
) AS
SELECT time_bucket(INTERVAL '1 day', bucket) AS bucket, gpu, metric, workload,
       sum(readings)::bigint AS readings, sum(sum) AS sum, min(min) AS min, max(max) AS max
FROM rollup_hour GROUP BY 1, gpu, metric, workload
WITH NO DATA;

COMMENT ON VIEW rollup_minute IS 'Readings, their sum, lowest and highest value per minute, GPU, metric and workload, in the unit of the source.';
COMMENT ON VIEW rollup_hour IS 'The same per hour.';
COMMENT ON VIEW rollup_day IS 'The same per day (UTC).';

CREATE INDEX rollup_minute_gpu ON rollup_minute (gpu, bucket);
CREATE INDEX rollup_hour_gpu ON rollup_hour (gpu, bucket);
CREATE INDEX rollup_day_gpu ON rollup_day (gpu, bucket);

ALTER MATERIALIZED VIEW rollup_minute
    SET (timescaledb.enable_columnstore, timescaledb.segmentby = '', timescaledb.orderby = 'gpu, metric, bucket');
ALTER MATERIALIZED VIEW rollup_hour
    SET (timescaledb.enable_columnstore, timescaledb.segmentby = '', timescaledb.orderby = 'gpu, metric, bucket');

SELECT add_continuous_aggregate_policy('rollup_minute', start_offset => NULL, end_offset => INTERVAL '2 minutes',
    schedule_interval => INTERVAL '5 minutes', initial_start => clock_timestamp() + INTERVAL '10 minutes',
    buckets_per_batch => 240);
SELECT add_continuous_aggregate_policy('rollup_hour', start_offset => NULL, end_offset => INTERVAL '5 minutes',
    schedule_interval => INTERVAL '30 minutes', initial_start => clock_timestamp() + INTERVAL '11 minutes',
    buckets_per_batch => 240);
SELECT add_continuous_aggregate_policy('rollup_day', start_offset => NULL, end_offset => INTERVAL '1 hour',
    schedule_interval => INTERVAL '6 hours', initial_start => clock_timestamp() + INTERVAL '12 minutes',
    buckets_per_batch => 100);
CALL add_columnstore_policy('rollup_minute', after => INTERVAL '1 day',
    initial_start => clock_timestamp() + INTERVAL '20 minutes');
CALL add_columnstore_policy('rollup_hour', after => INTERVAL '2 days',
    initial_start => clock_timestamp() + INTERVAL '21 minutes');
