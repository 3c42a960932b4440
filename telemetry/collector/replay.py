"""A dead block on its way back: through the queue, or to the streamers of its file.

What lives here: what goes back, and how, for whoever asks for it. What does not: choosing dead blocks (the commands,
the API), the gate that a replay passes (`worker`).
"""

from telemetry.block import block_id
from telemetry.broker import Published, PublishError, Topic
from telemetry.collector.parcel import DEAD_HEADER, FORMAT_HEADER
from telemetry.store.deadblocks import RAW_FORMAT, DeadBlock, DeadBlocks


class NotReplayable(Exception):
    """Raised when a dead block cannot go back as it is, now or ever; it stays where it is."""


def is_raw(block: DeadBlock) -> bool:
    """Whether it is rows that no streamer could publish: these are given back, all others published again."""
    return block.format == RAW_FORMAT


def give_back(block: DeadBlock, blocks: DeadBlocks) -> None:
    """Give raw rows back to the streamers of their file; `blocks` must be a writer's.

    Raises NotReplayable when no ledger row knows them as dead (any more).
    """
    if not blocks.reread(block.id):
        raise NotReplayable("no ledger row of these rows to give back")


def message_id_of(block: DeadBlock) -> str:
    """The id under which it is published again."""
    if block.source is not None and block.first_row is not None:
        return block_id(block.source, block.first_row)
    return block.message_id or f"dead:{block.id}"


def publish_again(block: DeadBlock, payload: bytes, topic: Topic, *, timeout: float) -> Published:
    """Publish it as a replay, which only the gate of the collector that stores it ends. `timeout` in seconds, for room.

    As a guest, so that the queue keeps its capacity, whatever this topic was given.

    Raises NotReplayable when it is more than a message takes, else what `Producer.publish` raises.
    """
    headers = {FORMAT_HEADER: block.format or "unknown", DEAD_HEADER: str(block.id)}
    with topic.producer(capacity=topic.agreed_capacity()) as producer:
        try:
            return producer.publish(message_id_of(block), payload, rows=block.rows, headers=headers, timeout=timeout)
        except PublishError as error:
            raise NotReplayable(str(error)) from None
