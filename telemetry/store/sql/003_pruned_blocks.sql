-- What is left of ledger rows that were pruned: their sums (stream_progress.pruned_*), and which numbers they had, so
-- that a sample of a pruned block is told from one of no block.

CREATE TABLE pruned_blocks (
    part   bigint NOT NULL,             -- of the numbers: block / 1000
    source text NOT NULL,
    blocks int8multirange NOT NULL,     -- numbers of pruned blocks in that part; neighbours are one range
    PRIMARY KEY (part, source)
);
COMMENT ON TABLE pruned_blocks IS 'Numbers of the settled blocks whose ledger rows were pruned.';

CREATE INDEX blocks_settled ON blocks (settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX dead_blocks_message ON dead_blocks (left(message_id, 400));
