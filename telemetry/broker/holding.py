"""What a batch asks for: settling, handing back, burying; and the debts when the server is away at that moment.

What lives here: the `Holder` of a consumer's batches. A step that finds no server, or is refused, is owed: it is safe
to take later, because settling is idempotent and handing back is fenced; until then the lease is kept as far as that
goes.
"""

from collections import deque
from collections.abc import Callable, Sequence
from logging import getLogger

from telemetry.broker.deadletters import DeadLetterSink, letter_of
from telemetry.broker.errors import BrokerClosed, BrokerError
from telemetry.broker.heartbeat import Heartbeat
from telemetry.broker.hooks import Hooks
from telemetry.broker.leases import Leases, returns
from telemetry.broker.message import Message, fold

log = getLogger(__name__)


class Holding:
    """See `batch.Holder`."""

    def __init__(self, leases: Leases, heart: Heartbeat, *, sink: DeadLetterSink, hooks: Hooks, stream: str) -> None:
        self._leases, self._heart = leases, heart
        self._sink, self._hooks, self._stream = sink, hooks, stream
        self._owed: deque[Callable[[], object]] = deque()

    def settle(self, messages: Sequence[Message]) -> None:
        """Acknowledge; when the server is away, as soon as `pay` finds it."""
        self._settle(messages, dead=False)
        self._hooks.on_ack(len(messages), sum(message.rows for message in messages))

    def hand_back(self, messages: Sequence[Message], *, spent: bool) -> None:
        """Let any consumer have them at once; `spent`: the attempt counts."""
        self.give_back(messages, spent=spent)
        self._hooks.on_release(len(messages), spent)

    def bury(self, message: Message, reason: str) -> None:
        """Dead-letter one message through the sink, then settle it."""
        self._sink.bury(letter_of(message, reason, stream=self._stream))
        self._settle([message], dead=True)
        self._hooks.on_dead(1, message.rows, reason)

    def hold(self) -> None:
        """The caller waits on purpose."""
        self._heart.turn()

    def more(self, count: int) -> list[Message]:
        """Up to so many new messages, if they are there, folded among themselves."""
        taken = self._leases.take(count)
        self._heart.hold(message.entry for message in taken)
        messages = fold(taken)
        if messages:
            self._hooks.on_deliver(len(messages), sum(message.rows for message in messages), False)
        return messages

    def lost(self, messages: Sequence[Message]) -> list[Message]:
        """Those that another consumer has taken over."""
        lost = self._heart.lost()
        return [message for message in messages if message.entry in lost]

    def give_back(self, messages: Sequence[Message], *, spent: bool) -> None:
        """Hand back without telling the host: the messages were never handed out, or it is told already."""
        self.free(returns(messages, spent=spent))

    def free(self, counts: Sequence[tuple[str, int]]) -> None:
        """Hand back (entry, deliveries to set or -1 to leave them)."""
        if not counts:
            return
        self._heart.drop(entry for entry, _ in counts)

        def free() -> None:
            with self._heart.quiet():
                self._leases.hand_back(counts)

        self._now_or_owed(free)

    def pay(self) -> None:
        """Take the steps that are owed.

        Raises:
            BrokerError: the server is still away, or still refuses.
        """
        while self._owed:
            self._owed[0]()
            self._owed.popleft()

    def _settle(self, messages: Sequence[Message], *, dead: bool) -> None:
        entries = [entry for message in messages for entry in message.entries]
        self._heart.leave(entries)  # the server may be done with them before we hear of it, if we ever do

        def settle() -> None:
            self._leases.settle(messages, dead=dead)
            self._heart.drop(entries)

        self._now_or_owed(settle)

    def _now_or_owed(self, step: Callable[[], object]) -> None:
        try:
            step()
        except BrokerClosed:
            raise
        except BrokerError as error:
            # A refusal too (a permission that is gone): who forgot the step would hold these messages for good.
            log.warning("broker unavailable, a step is owed error=%s", error)
            self._owed.append(step)
