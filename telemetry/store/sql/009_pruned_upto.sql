-- Which of its blocks are gone from the ledger, told by the transactions that settled them: who follows has seen those or
-- has not, however lately it was. Of what was pruned before it was kept: none later than now.

ALTER TABLE stream_progress
    ADD COLUMN pruned_upto bigint;  -- the number of the last transaction that settled one of its pruned blocks

UPDATE stream_progress SET pruned_upto = pg_snapshot_xmax(pg_current_snapshot())::text::bigint
WHERE pruned_to IS NOT NULL;
