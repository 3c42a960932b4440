-- Samples on TimescaleDB Community: a hypertable with the columnstore, filled by direct compress.
-- No unique key, no trigger, no foreign key: each of them would switch direct compress off. Once only is the
-- ledger's work. An empty segmentby must be said: left out, TimescaleDB picks a column by itself.

CREATE TABLE samples (
    time     timestamptz NOT NULL,
    gpu      integer NOT NULL,
    metric   smallint NOT NULL,
    workload integer NOT NULL,
    value    double precision NOT NULL,
    block    bigint NOT NULL
) WITH (
    tsdb.hypertable,
    tsdb.partition_column = 'time',
    tsdb.chunk_interval = '1 day',
    tsdb.segmentby = '',
    tsdb.orderby = 'gpu, time',
    tsdb.create_default_indexes = false
);
