"""Where this collector's consumer buries messages: dead_blocks, in the transaction that settles the ledger row."""

from telemetry.broker import DeadLetter
from telemetry.collector.parcel import dead_id_of, letter_of
from telemetry.store.deadblocks import DeadBlocks
from telemetry.store.gate import Standing


class DeadBlockSink:
    """The broker's DeadLetterSink over the store. A replay that dies again goes back to the row it came from.

    `kept` tells of the last letter whether it had to be kept: False when its block was settled already.
    """

    def __init__(self, *, dead: DeadBlocks) -> None:
        self.dead = dead
        self.kept = False
        self._begun = ""

    def bury(self, letter: DeadLetter) -> None:
        """Keep the letter durably; harmless when it was kept, or its block settled, before."""
        again, self._begun = letter.origin == self._begun, letter.origin
        standing = self._bury(letter)
        # A try whose reply was lost may have kept it: the next one finds the block dead.
        self.kept = standing is Standing.STORED or (again and standing is Standing.DEAD)

    def _bury(self, letter: DeadLetter) -> Standing:
        dead_id = dead_id_of(letter.headers)
        row = letter_of(letter)
        if dead_id is not None and self.dead.bury_again(dead_id, row):
            return Standing.STORED
        return self.dead.bury(row)
