-- Samples on TimescaleDB under the Apache licence: a hypertable in the rowstore.

CREATE TABLE samples (
    time     timestamptz NOT NULL,
    gpu      integer NOT NULL,
    metric   smallint NOT NULL,
    workload integer NOT NULL,
    value    double precision NOT NULL,
    block    bigint NOT NULL
);
SELECT create_hypertable('samples', by_range('time', INTERVAL '1 day'), create_default_indexes => false);
CREATE INDEX samples_gpu_time ON samples (gpu, time DESC);
