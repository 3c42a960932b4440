"""Bugs that are planted on purpose: `python -m tests.chaos.planted BUG stream|collect ..` runs a role that has one.

Each takes away one thing that the promise rests on. A proof that does not notice is none.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from telemetry.broker import Batch, Producer
from telemetry.broker import client as broker_client
from telemetry.cli import main
from telemetry.collector.worker import Worker
from telemetry.store import queries

FENCE = "redis.pcall('XPENDING', stream, group, entry, entry, 1, me)"


def ack_before_commit() -> None:
    """The collector acknowledges what it has taken, and only then stores it."""
    settle = Worker.settle

    def early(worker: Worker, batch: Batch) -> None:
        batch.ack()
        settle(worker, batch)

    setattr(Worker, "settle", early)  # noqa: B010  a type checker is right to object


def gate_always_open() -> None:
    """The gate settles what is settled already."""
    found: Any = queries._queries("queries.sql")
    for condition in ("WHERE b.settled_at IS NULL ", " AND b.settled_at IS NULL"):
        assert condition in found["gate"]
        found["gate"] = found["gate"].replace(condition, "")


def no_fence() -> None:
    """A heartbeat takes every entry that it names, whoever has it."""
    read = broker_client.Script.__init__

    def unfenced(script: broker_client.Script, name: str) -> None:
        read(script, name)
        if name == "keep":
            assert FENCE in script.source
            script.source = script.source.replace(FENCE, "{1}")
            script.sha = "0" * 40  # no server has it: the source is sent

    setattr(broker_client.Script, "__init__", unfenced)  # noqa: B010


def republish_without_asking() -> None:
    """Streamers take everything that is due for absent from the queue."""

    def all_absent(_producer: Producer, ids: Sequence[str]) -> list[str]:
        return list(ids)

    setattr(Producer, "absent", all_absent)  # noqa: B010


BUGS: dict[str, Callable[[], None]] = {
    "ack-before-commit": ack_before_commit,
    "gate-always-open": gate_always_open,
    "no-fence": no_fence,
    "republish-without-asking": republish_without_asking,
}

if __name__ == "__main__":
    BUGS[sys.argv[1]]()
    sys.argv[:2] = ["telemetry"]
    main()
