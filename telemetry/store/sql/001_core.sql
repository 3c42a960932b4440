-- Dimensions, the ledger and what did not become a sample. The same on every tier; samples follow in 002.

CREATE TABLE gpus (
    gpu         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key         bytea NOT NULL UNIQUE,  -- digest of all columns from uuid to labels: texts may be longer than an index row
    id          text NOT NULL,          -- what the API calls it: uuid, or hostname:gpu_id without one
    uuid        text NOT NULL,
    gpu_id      text NOT NULL,
    device      text NOT NULL,
    model_name  text NOT NULL,
    hostname    text NOT NULL,
    labels      jsonb NOT NULL,         -- GPU_I_ID and GPU_I_PROFILE of a MIG instance, else {}
    first_seen  timestamptz,            -- times of readings, not of their arrival; NULL until one is stored
    last_seen   timestamptz
);
-- By hash: 1,024 characters may be more bytes than a row of a B-tree takes.
CREATE INDEX gpus_id ON gpus USING hash (id);
CREATE INDEX gpus_hostname ON gpus USING hash (hostname);
COMMENT ON TABLE gpus IS 'One row per identity and place of a GPU or MIG instance; a GPU that moves gets another row with the same id.';

CREATE TABLE metrics (
    metric      smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL,          -- as the source writes it
    canonical   text NOT NULL,          -- DCGM's classic name where the catalogue knows it, else name
    unit        text NOT NULL,
    kind        text NOT NULL,          -- gauge, counter or code
    description text NOT NULL,
    CONSTRAINT metrics_name EXCLUDE USING hash (name WITH =)  -- unique, however long it is
);
COMMENT ON TABLE metrics IS 'Every metric name that was ever read, with what the catalogue knows of it.';

CREATE TABLE workloads (
    workload    integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key         bytea NOT NULL UNIQUE,
    container   text NOT NULL,
    pod         text NOT NULL,
    namespace   text NOT NULL,
    labels      jsonb NOT NULL,         -- null: the value is that of the column of this meaning; a string: verbatim
    template    text NOT NULL           -- labels_raw with marks where columns stand, made from labels
);
COMMENT ON TABLE workloads IS 'Container, pod, namespace and the labels that neither columns nor GPU determine; a changed set is a new row.';

CREATE TABLE stream_progress (
    stream_id       text PRIMARY KEY,
    next_row        bigint NOT NULL,    -- the first reading that is not reserved yet; may lie beyond length
    length          bigint,             -- NULL: the source has no end (a loop)
    next_time       timestamptz NOT NULL,
    pruned_rows     bigint NOT NULL DEFAULT 0,
    pruned_stored   bigint NOT NULL DEFAULT 0,
    pruned_blank    bigint NOT NULL DEFAULT 0,
    pruned_rejected bigint NOT NULL DEFAULT 0,
    pruned_dead     bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE stream_progress IS 'The cursor that all streamers of a source share, and the sums of ledger rows that were pruned.';

CREATE TABLE blocks (
    source       text NOT NULL,
    first_row    bigint NOT NULL,
    rows         integer NOT NULL,
    time0        timestamptz,           -- of a reading stamped when it is read; NULL: the source has its own times
    leased_until timestamptz NOT NULL,  -- until then its streamer is expected to publish it
    tries        integer NOT NULL DEFAULT 0,
    settled_at   timestamptz,
    stored       integer,
    blank        integer,
    rejected     integer,
    dead         integer,
    body         bytea,                 -- of what cannot be read again, until it is settled
    block        bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    PRIMARY KEY (source, first_row)
) WITH (fillfactor = 80);
CREATE INDEX blocks_unsettled ON blocks (source, first_row) WHERE settled_at IS NULL;
COMMENT ON TABLE blocks IS 'The ledger: every block that was reserved, and how it was settled: rows = stored + blank + rejected + dead.';

CREATE TABLE rejected_rows (
    block  bigint NOT NULL,
    source text NOT NULL,
    row    bigint NOT NULL,             -- number of the reading in its source, from 0
    reason text NOT NULL,
    raw    text NOT NULL,
    at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX rejected_rows_source ON rejected_rows (source, row);
COMMENT ON TABLE rejected_rows IS 'Readings that could not be used, why, and their text (perhaps shortened).';

CREATE TABLE dead_blocks (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id text NOT NULL,
    source     text,                    -- NULL: no ledger row stands behind the message
    first_row  bigint,
    rows       bigint NOT NULL,
    format     text NOT NULL,
    reason     text NOT NULL,
    attempts   integer NOT NULL,
    origin     text NOT NULL,           -- where it came from: the stream entry, or the streamer
    died_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    payload    bytea NOT NULL
);
CREATE UNIQUE INDEX dead_blocks_once ON dead_blocks (origin, left(message_id, 400));
COMMENT ON TABLE dead_blocks IS 'Messages that could not be stored, with their payload: telemetry queue dead list, show, replay, drop.';
