-- For the live tail. Samples have no index on block: of which times a block's readings are bounds where they are looked
-- for. Empty for blocks that were settled before. And which blocks may be gone from the ledger, so that a reader who
-- was away for long is told so, and does not go on as if he had missed nothing.

ALTER TABLE blocks
    ADD COLUMN first_time timestamptz,  -- of its samples; NULL: it has none
    ADD COLUMN last_time timestamptz;
ALTER TABLE stream_progress
    ADD COLUMN pruned_to timestamptz;   -- the latest settled_at of its pruned blocks
