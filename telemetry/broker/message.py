"""A message as a consumer sees it, read from whatever somebody put into the stream.

What lives here: raw entry -> `Message`, folding of copies. An entry that lacks fields is a message too: what it is
worth is for the consumer to judge, and it must be possible to dead-letter it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from telemetry.broker.keys import BODY, ID, OWN_FIELDS, ROWS


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message.

    `entry` is its place in the stream, `copies` further entries that carried the same id and are settled with it.
    `attempts` counts deliveries to a consumer, this one included. `exhausted`: no attempt is left, bury it.
    `owner`, `idle`: who holds it and for how many seconds, when peeking. `fields`: the entry as it came.
    """

    id: str
    body: bytes = field(repr=False)
    rows: int
    headers: Mapping[str, str]
    entry: str
    attempts: int
    exhausted: bool = False
    copies: tuple[str, ...] = ()
    owner: str = ""
    idle: float = 0.0
    fields: Mapping[bytes, bytes] = field(repr=False)

    @property
    def entries(self) -> tuple[str, ...]:
        """All entries that are settled with this message."""
        return (self.entry, *self.copies)

    @property
    def returns_to(self) -> int:
        """The count that says this attempt never was; -1: leave it as it is."""
        return -1 if self.exhausted else self.attempts - 1


def read_message(
    entry: bytes | str,
    fields: Mapping[bytes, bytes],
    *,
    attempts: int,
    exhausted: bool = False,
    owner: str = "",
    idle: float = 0.0,
) -> Message:
    """The message in a raw entry: without an id it is "", without a usable number of rows that is 0.

    The body is left as it is: only headers are turned into text.
    """
    rows = fields.get(ROWS.encode(), b"")
    names = ((text(name), value) for name, value in fields.items())
    return Message(
        id=text(fields.get(ID.encode(), b"")),
        body=fields.get(BODY.encode(), b""),
        rows=int(rows) if rows.isdigit() and len(rows) <= 15 else 0,
        headers={name: text(value) for name, value in names if name not in OWN_FIELDS},
        entry=text(entry),
        attempts=attempts,
        exhausted=exhausted,
        owner=owner,
        idle=idle,
        fields=fields,
    )


def text(value: bytes | str) -> str:
    """Bytes of unknown origin as text that can be printed and stored anywhere."""
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")


def pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """field, value, .. as a dictionary."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def fold(messages: Iterable[Message]) -> list[Message]:
    """One message per id, the first; the others become its copies. Messages without an id stay apart."""
    first: dict[str, Message] = {}
    for message in messages:
        key = message.id or f"\0{message.entry}"
        known = first.get(key)
        first[key] = message if known is None else replace(known, copies=(*known.copies, message.entry))
    return list(first.values())
