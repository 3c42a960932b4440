"""Every Redis key of a topic, and how an entry's fields are laid out.

What lives here: names. All keys of one topic carry the hash tag `{topic}`, so that a Redis Cluster keeps them
on one node and a script may use them together.
"""

from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_GROUP = "collectors"

ID, ROWS, BODY = "id", "rows", "body"
OWN_FIELDS = frozenset({ID, ROWS, BODY})


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of topic `topic` in `namespace`; `gpu:{samples}` is the stream that `redis-cli XLEN` shows."""

    namespace: str
    topic: str

    @property
    def stream(self) -> str:
        """The stream: XLEN is the depth of the queue."""
        return f"{self.namespace}:{{{self.topic}}}"

    @property
    def ids(self) -> str:
        """Hash: message id -> entry, of what is queued."""
        return f"{self.stream}:ids"

    @property
    def rows(self) -> str:
        """Hash: entry -> rows, of what is queued; so that sums need not look at bodies."""
        return f"{self.stream}:rows"

    @property
    def capacity(self) -> str:
        """String: the capacity in messages that producers agreed on."""
        return f"{self.stream}:capacity"

    @property
    def stats(self) -> str:
        """Hash: totals since the topic was made."""
        return f"{self.stream}:stats"

    @property
    def dead(self) -> str:
        """Stream: the default place of dead letters."""
        return f"{self.stream}:dead"

    @property
    def origins(self) -> str:
        """Hash: where a dead letter came from -> its entry in `dead`."""
        return f"{self.stream}:dead:origins"


def entry_fields(id: str, rows: int, headers: Mapping[str, str], body: bytes) -> list[str | bytes]:
    """Field, value, .. of an entry, in the order that reads well in redis-cli: what it is first, body last."""
    fields: list[str | bytes] = [ID, id, ROWS, str(rows)]
    for name, value in headers.items():
        fields += [name, value]
    return [*fields, BODY, body]
