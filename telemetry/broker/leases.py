"""Leases: what one consumer holds at the server, and each step by which that changes.

What lives here: `Leases`, one call per script, fenced at the server. When to take which step is the consumer's
business, keeping them up that of `heartbeat`. A client over HTTP, which has no loop, works with `Leases` alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from telemetry.broker.client import Client
from telemetry.broker.keys import Keys
from telemetry.broker.message import Message, pairs, read_message

MOST_HELD = 10_000  # entries of its own that a consumer asks for after an error
MOST_AT_ONCE = 1_000  # entries per call of settle: Lua unpacks no more than some thousands
LONGEST_SILENCE = 15.0  # seconds between signs of life, however long the lease: who watches does not know that
FOR_EVER = 1 << 52  # milliseconds; Lua's numbers are exact up to here


@dataclass(slots=True)
class Claimed:
    """An entry that was taken over and waits for its turn; `known` deliveries before it."""

    entry: str
    known: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms one consumer works: its group, its unique name, the lease in seconds, attempts at most."""

    group: str
    name: str
    lease: float
    max_attempts: int

    @property
    def lease_ms(self) -> int:
        """The lease in milliseconds, as the server counts idle time."""
        return max(1, round(self.lease * 1000))

    @property
    def beat(self) -> float:
        """Seconds between two renewals."""
        return min(self.lease / 4, LONGEST_SILENCE)


class Leases:
    """The entries that one consumer owns, and the ways in and out. Times in seconds."""

    def __init__(self, client: Client, keys: Keys, terms: Terms) -> None:
        self.terms = terms
        self._client, self._keys = client, keys
        self._me = [terms.group, terms.name]
        self._cursor = "0-0"

    def join(self) -> list[Claimed]:
        """Make stream, group and consumer if missing; what the server believes this consumer holds with a live lease.

        An entry whose delivery was lost on the way has been counted once already: `known` is one less.
        """
        held = self._client.script("join", [self._keys.stream], [*self._me, MOST_HELD])
        return [Claimed(entry.decode(), count - 1) for entry, idle, count in held if idle < self.terms.lease_ms]

    def take(self, count: int, *, block: float = 0.0) -> list[Message]:
        """New messages, waiting up to `block` seconds for the first one."""
        waiting: list[str | int] = ["BLOCK", max(1, round(block * 1000))] if block > 0 else []
        reply = self._client.command(
            "XREADGROUP", "GROUP", *self._me, "COUNT", count, *waiting, "STREAMS", self._keys.stream, ">"
        )
        streams = reply.items() if isinstance(reply, dict) else reply or []
        return [
            read_message(entry, fields if isinstance(fields, dict) else pairs(fields or []), attempts=1)
            for _, entries in streams
            for entry, fields in _flat(entries)
        ]

    def reap(self, count: int) -> tuple[list[Claimed], bool]:
        """Take over up to `count` entries whose lease lapsed; whether the search came to the end of the list."""
        cursor, *taken = self._client.script(
            "reap",
            [self._keys.stream, self._keys.ids, self._keys.rows],
            [*self._me, self.terms.lease_ms, self._cursor, count],
        )
        self._cursor = cursor.decode()
        return [Claimed(entry.decode(), known) for entry, known in taken], self._cursor == "0-0"

    def attempt(self, claimed: Claimed) -> Message | None:
        """Count an attempt at an entry that was taken over; None when another has it by now, or it was deleted."""
        outcome, *rest = self._client.script(
            "attempt",
            [self._keys.stream, self._keys.ids, self._keys.rows, self._keys.stats],
            [*self._me, claimed.entry, claimed.known, self.terms.max_attempts],
        )
        if not rest:
            return None
        count, fields = rest
        return read_message(claimed.entry, pairs(fields), attempts=count, exhausted=outcome == b"exhausted")

    def keep(self, entries: Iterable[str]) -> list[str]:
        """Renew the lease of entries; those of them that are lost."""
        lost = self._client.script("keep", [self._keys.stream], [*self._me, *entries])
        return [entry.decode() for entry in lost]

    def settle(self, messages: Sequence[Message], *, dead: bool = False) -> int:
        """Acknowledge and delete; how many were in the queue until now. Not fenced: the work is done."""
        entries = [(entry, message.id) for message in messages for entry in message.entries]
        return sum(self._settle(entries[at : at + MOST_AT_ONCE], dead) for at in range(0, len(entries), MOST_AT_ONCE))

    def _settle(self, entries: Sequence[tuple[str, str]], dead: bool) -> int:
        keys = self._keys
        args = [self.terms.group, "dead" if dead else "acked", *(e for e, _ in entries), *(id for _, id in entries)]
        return int(self._client.script("settle", [keys.stream, keys.ids, keys.rows, keys.stats], args))

    def hand_back(self, counts: Sequence[tuple[str, int]]) -> int:
        """Let others have (entry, deliveries to set or -1 to leave them) at once; how many were still ours."""
        flat = [part for pair in counts for part in pair]
        return int(self._client.script("hand_back", [self._keys.stream], [*self._me, self.terms.lease_ms, *flat]))

    def release(self, messages: Sequence[Message], *, spent: bool = False) -> int:
        """Hand messages back; without `spent` the attempt never was."""
        return self.hand_back(returns(messages, spent=spent))

    def leave(self) -> bool:
        """Remove this consumer, if it owns nothing."""
        return bool(self._retire(self.terms.name, 0))

    def sweep(self, idle: float | None) -> int:
        """Show that this one lives; remove others that own nothing and gave no sign for so many seconds; how many.

        None removes nobody.
        """
        return self._retire("", FOR_EVER if idle is None else round(idle * 1000))

    def _retire(self, name: str, idle_ms: int) -> int:
        args: list[str | int] = [self.terms.group, name, self.terms.name, idle_ms]
        return int(self._client.script("retire", [self._keys.stream], args))


def returns(messages: Sequence[Message], *, spent: bool) -> list[tuple[str, int]]:
    """What `hand_back` is to be told: each entry with its copies, and the count that it goes back to."""
    return [(entry, -1 if spent else message.returns_to) for message in messages for entry in message.entries]


def _flat(entries: object) -> list[tuple[bytes, dict[bytes, bytes] | None]]:
    """RESP3-minded drivers wrap the entries of a stream in one more list."""
    found = list(entries) if isinstance(entries, (list, tuple)) else []
    return found[0] if len(found) == 1 and isinstance(found[0], list) else found
