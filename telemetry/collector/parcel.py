"""A message as the collector sees it: decoded, or with the reason why not; and the dead letter it may become."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from telemetry.block import MAX_ROWS, Block, BlockError, parse_block_id
from telemetry.broker import DeadLetter, Message
from telemetry.runtime.logs import log_event
from telemetry.store.deadblocks import Letter

log = logging.getLogger(__name__)

FORMAT_HEADER = "format"
DEAD_HEADER = "dead"
"""Header of a replay: the id of the dead block that it was."""

LONGEST = 2_000
"""Characters of an id or a reason that are kept of a message of unknown making."""
LONGEST_ORIGIN = 128
"""Characters of an origin, the last ones: they hold the entry. It must fit an index row beside 400 of the id."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message that holds a block."""

    message: Message
    block: Block

    @property
    def dead_id(self) -> int | None:
        """Of a replay: which dead block it was."""
        return dead_id_of(self.message.headers)


def unpack(message: Message, max_bytes: int) -> Parcel:
    """Decode a message. BlockError says in one sentence why it cannot be."""
    if len(message.body) > max_bytes:
        raise BlockError(f"body has {len(message.body)} bytes, more than {max_bytes}")
    block = Block.decode(message.id, message.rows, message.headers.get(FORMAT_HEADER, ""), message.body)
    return Parcel(message, block)


def letter_of(letter: DeadLetter) -> Letter:
    """The row of dead_blocks for a message that the broker gives up; whatever is in it can be stored."""
    identity = parse_block_id(letter.id)
    source, first_row = identity if identity and "\0" not in letter.id and len(letter.id) <= LONGEST else (None, None)
    rows = letter.rows if 0 <= letter.rows <= MAX_ROWS else 0
    return Letter(
        message_id=_storable(letter.id),
        source=source,
        first_row=first_row,
        rows=rows,
        format=_storable(letter.headers.get(FORMAT_HEADER, "")),
        reason=_storable(letter.reason),
        attempts=letter.attempts,
        origin=_storable(letter.origin[-LONGEST_ORIGIN:]),
        payload=letter.body,
    )


def dead_id_of(headers: object) -> int | None:
    """The dead block that a message's headers name, if they do."""
    text = headers.get(DEAD_HEADER, "") if hasattr(headers, "get") else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _storable(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:LONGEST]


def tell_taken(messages: Sequence[Message], consumer: str) -> None:
    """Log who has these messages now: who had one before is found in the log of whoever took it before."""
    for one in messages:
        again = one.attempts > 1
        level, sentence = (logging.INFO, "took over a block") if again else (logging.DEBUG, "took a block")
        log_event(log, level, sentence, id=one.id, entry=one.entry, attempt=one.attempts, consumer=consumer)


def age_of(message: Message) -> float:
    """Seconds since the message was queued, by the clock of the queue's server in its entry id."""
    published_ms = int(message.entry.partition("-")[0])
    return max(0.0, time.time() - published_ms / 1000)
