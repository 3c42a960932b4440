-- Samples on plain PostgreSQL: one range partition per day (UTC), made by ensure_days before rows arrive.

CREATE TABLE samples (
    time     timestamptz NOT NULL,
    gpu      integer NOT NULL,
    metric   smallint NOT NULL,
    workload integer NOT NULL,
    value    double precision NOT NULL,
    block    bigint NOT NULL
) PARTITION BY RANGE (time);
CREATE INDEX samples_gpu_time ON samples (gpu, time DESC);
