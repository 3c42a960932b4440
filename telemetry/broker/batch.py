"""A batch: what a consumer got at one turn of its loop, and the ways to be done with it.

What lives here: which messages are still open, and what leaving the `with` block means. The server is spoken to by
the `Holder` that made the batch.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

from telemetry.broker.errors import BrokerClosed, BrokerUnavailable
from telemetry.broker.message import Message

EXHAUSTED = "no attempt left: {attempts} were made"


class Holder(Protocol):
    """Who holds the lease of a batch: its consumer."""

    def settle(self, messages: Sequence[Message]) -> None:
        """Acknowledge; when the server is away, as soon as it is back."""

    def hand_back(self, messages: Sequence[Message], *, spent: bool) -> None:
        """Let any consumer have them at once; `spent`: the attempt counts."""

    def bury(self, message: Message, reason: str) -> None:
        """Dead-letter one, then settle it."""

    def hold(self) -> None:
        """Note that the caller waits on purpose."""

    def more(self, count: int) -> list[Message]:
        """Up to so many new messages, if they are there."""

    def lost(self, messages: Sequence[Message]) -> list[Message]:
        """Those that another consumer has taken over."""


class Batch:
    """Messages in hand, each open until it is acknowledged, released or rejected.

    `with batch:` acknowledges on a clean exit what is open. An exception hands back what is open and goes on: an
    outage (see `Consumer`) or an interruption costs no attempt, any other exception costs one, so that each message
    then comes alone and only the one to blame runs out of attempts.
    """

    def __init__(
        self, messages: Sequence[Message], *, holder: Holder, outages: tuple[type[BaseException], ...] = ()
    ) -> None:
        self.messages: list[Message] = list(messages)
        self._open = {message.entry: message for message in messages}
        self._holder = holder
        self._outages = (*outages, BrokerUnavailable, BrokerClosed)

    @property
    def open(self) -> list[Message]:
        """Messages that are not settled yet."""
        return list(self._open.values())

    @property
    def lost(self) -> list[Message]:
        """Open messages that another consumer has taken over, because the lease lapsed or the queue vanished.

        Their work may be finished and acknowledged all the same: it is then done twice, and must bear that.
        """
        return self._holder.lost(self.open)

    @property
    def rows(self) -> int:
        """Sum over the messages."""
        return sum(message.rows for message in self.messages)

    def ack(self, messages: Sequence[Message] | None = None) -> None:
        """Be done with these, or with all that are open. Away servers are told when they are back."""
        done = self._take(messages)
        if done:
            self._holder.settle(done)

    def release(self, messages: Sequence[Message] | None = None) -> None:
        """Hand these back, or all that are open; no attempt is spent."""
        free = self._take(messages)
        if free:
            self._holder.hand_back(free, spent=False)

    def reject(self, message: Message, reason: str) -> None:
        """Dead-letter one message.

        Raises:
            BrokerError: or what the sink raises; the message stays open then.
        """
        if message.entry in self._open:
            self._holder.bury(message, reason)
            del self._open[message.entry]

    def hold(self) -> None:
        """Say "I am alive and wait on purpose" (a known outage): leases are kept however long the turn takes.

        Call it at each step of a backoff; each call is good for the consumer's `stall_limit`.
        """
        self._holder.hold()

    def extend(self, count: int) -> list[Message]:
        """Take up to `count` new messages into `open`, without waiting for any; those that came.

        For a caller who cannot be done with what it has, and wants to know whether others fare better. They are not
        kept in `messages`, so that looking at many takes no room.

        Raises:
            BrokerError: what was read then, if anything, comes again when its lease lapses.
        """
        messages = self._holder.more(count)
        self._open |= {message.entry: message for message in messages}
        return messages

    def finish(self, error: BaseException | None = None) -> None:
        """Settle what is open as leaving the `with` block with this exception would."""
        if error is None:
            self._bury_exhausted("")
            self.ack()
        elif isinstance(error, self._outages) or not isinstance(error, Exception):
            self.release()
        else:
            self._bury_exhausted(f"; the last failed with {type(error).__name__}: {error}"[:2000])
            spent = self._take(None)
            if spent:
                self._holder.hand_back(spent, spent=True)

    def _bury_exhausted(self, because: str) -> None:
        for message in self.open:
            if message.exhausted:
                try:
                    self.reject(message, EXHAUSTED.format(attempts=message.attempts) + because)
                except Exception:
                    self.release()
                    raise

    def _take(self, messages: Sequence[Message] | None) -> list[Message]:
        chosen = self.open if messages is None else messages
        return [taken for message in chosen if (taken := self._open.pop(message.entry, None))]

    def __enter__(self) -> "Batch":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.finish(error)

    def __len__(self) -> int:
        return len(self.messages)
