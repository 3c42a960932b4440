"""Dead letters: messages that nobody could work off, kept with the reason until a person decides.

What lives here: the letter, the `DeadLetterSink` that a consumer buries them in, and the default sink, a Redis stream
of bounded length. A host with a better place brings its own sink.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from telemetry.broker.client import Client
from telemetry.broker.errors import BrokerError, OutOfMemory, TopicFull
from telemetry.broker.keys import BODY, ID, ROWS, Keys
from telemetry.broker.message import Message, pairs, text

HEADER = "header."  # how the headers of the message are named in the letter


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message and why it died. `origin` is stream@entry, `time` Unix seconds, `entry` its place among the dead."""

    id: str
    body: bytes = field(repr=False)
    rows: int
    headers: Mapping[str, str]
    reason: str
    attempts: int
    origin: str
    time: float
    entry: str = ""


class DeadLetterSink(Protocol):
    """Where a consumer buries."""

    def bury(self, letter: DeadLetter) -> None:
        """Keep it durably before returning; called again with the same `origin` when a settlement was lost."""


def letter_of(message: Message, reason: str, *, stream: str) -> DeadLetter:
    """The letter for a message that dies now."""
    return DeadLetter(
        id=message.id,
        body=message.body,
        rows=message.rows,
        headers=message.headers,
        reason=reason,
        attempts=message.attempts,
        origin=f"{stream}@{message.entry}",
        time=time.time(),
    )


class DeadLetters:
    """The default sink: the stream `<topic>:dead`. When `capacity` letters lie there, burying raises TopicFull."""

    def __init__(
        self, connection: Callable[[], Client], keys: Keys, *, capacity: int, publish: Callable[..., bool]
    ) -> None:
        self._connection, self._keys = connection, keys
        self._capacity, self._publish = capacity, publish

    def bury(self, letter: DeadLetter) -> None:
        """Keep a letter; the same `origin` is kept once.

        Raises:
            TopicFull: the room for dead letters is used up, or the server's memory.
        """
        fields: list[str | bytes] = [ID, letter.id, ROWS, str(letter.rows), "reason", letter.reason]
        fields += ["attempts", str(letter.attempts), "origin", letter.origin, "time", f"{letter.time:.3f}"]
        for name, value in letter.headers.items():
            fields += [HEADER + name, value]
        try:
            entry = self._script("bury", [self._capacity, letter.origin, *fields, BODY, letter.body])
        except OutOfMemory:
            entry = b""
        if not entry:
            raise TopicFull(
                f"{self._keys.dead} takes no more letters (at most {self._capacity}, and memory): replay or drop some",
                depth=self.count,
                capacity=self._capacity,
            )

    @property
    def count(self) -> int:
        """How many letters there are."""
        return int(self._connection().command("XLEN", self._keys.dead))

    def list(self, count: int = 50, start: str = "-") -> Sequence[DeadLetter]:
        """Up to `count` letters, oldest first, from entry `start` on; `(entry` begins after that one."""
        found = self._connection().command("XRANGE", self._keys.dead, start, "+", "COUNT", count)
        return [_letter(entry, fields) for entry, fields in found]

    def show(self, entry: str) -> DeadLetter:
        """One letter.

        Raises:
            BrokerError: there is none of that name.
        """
        try:
            found = self._connection().command("XRANGE", self._keys.dead, entry, entry)
        except BrokerError as error:
            if "Invalid stream ID" not in str(error):
                raise
            found = []
        if not found:
            raise BrokerError(f"no dead letter {entry} in {self._keys.dead}")
        return _letter(*found[0])

    def replay(self, entry: str) -> DeadLetter:
        """Publish a letter's message again, as any other: subject to capacity. The letter is dropped after that.

        Raises:
            TopicFull: no room in the queue; the letter stays.
            BrokerError: there is no such letter, its message has no id, or another body is still queued under it; the
                letter stays.
        """
        letter = self.show(entry)
        new = self._publish(letter.id, letter.body, rows=letter.rows, headers=letter.headers, timeout=0)
        if not new and self._queued(letter.id) != letter.body:
            raise BrokerError(
                f"{letter.id} is still queued with another body; replay letter {entry} when that is settled"
            )
        self.drop(entry)
        return letter

    def _queued(self, id: str) -> bytes | None:
        entry = self._connection().command("HGET", self._keys.ids, id)
        found = self._connection().command("XRANGE", self._keys.stream, entry, entry) if entry else []
        return _letter(*found[0]).body if found else None

    def drop(self, entry: str) -> bool:
        """Delete a letter for good; whether it was there."""
        return bool(self._script("drop", [entry]))

    def _script(self, name: str, args: Sequence[Any]) -> Any:
        return self._connection().script(name, [self._keys.dead, self._keys.origins], args)


def _letter(entry: bytes, raw: Any) -> DeadLetter:
    fields = raw if isinstance(raw, dict) else pairs(raw)
    known = {text(name): text(value) for name, value in fields.items() if name != BODY.encode()}
    letter = DeadLetter(
        id=known.get(ID, ""),
        body=fields.get(BODY.encode(), b""),
        rows=int(known.get(ROWS, "0")),
        headers={k.removeprefix(HEADER): v for k, v in known.items() if k.startswith(HEADER)},
        reason=known.get("reason", ""),
        attempts=int(known.get("attempts", "0")),
        origin=known.get("origin", ""),
        time=float(known.get("time", "0")),
    )
    return replace(letter, entry=text(entry))
