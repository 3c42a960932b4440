"""Where this collector's consumer buries messages: dead_blocks, in the transaction that settles the ledger row."""

from telemetry.broker import DeadLetter
from telemetry.collector.parcel import dead_id_of, letter_of
from telemetry.store.deadblocks import DeadBlocks


class DeadBlockSink:
    """The broker's DeadLetterSink over the store. A replay that dies again goes back to the row it came from."""

    def __init__(self, *, dead: DeadBlocks) -> None:
        self.dead = dead

    def bury(self, letter: DeadLetter) -> None:
        """Keep the letter durably; harmless when it was kept, or its block settled, before."""
        dead_id = dead_id_of(letter.headers)
        row = letter_of(letter)
        if dead_id is not None and self.dead.bury_again(dead_id, row):
            return
        self.dead.bury(row)
