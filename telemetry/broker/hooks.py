"""What the broker tells its host while it works, so that the host may count it in its own way.

What lives here: the calls, all of which do nothing by default. No metrics library, no logging.
"""


class Hooks:
    """Subclass and override what you want to count. Called in the thread that does the work: be quick, do not raise."""

    def on_publish(self, rows: int, seconds: float, new: bool) -> None:
        """A message was queued (`new`), or found still queued; `seconds` include the wait for room."""

    def on_wait(self, seconds: float) -> None:
        """A producer has waited for room for so many more seconds: time spent in backpressure."""

    def on_full(self, depth: int, capacity: int) -> None:
        """A producer gave up for want of room."""

    def on_deliver(self, messages: int, rows: int, redelivered: bool) -> None:
        """A batch was handed out; `redelivered` when it was taken over from another delivery."""

    def on_ack(self, messages: int, rows: int) -> None:
        """Messages were settled as done."""

    def on_dead(self, messages: int, rows: int, reason: str) -> None:
        """Messages were dead-lettered."""

    def on_release(self, messages: int, spent: bool) -> None:
        """Messages were handed back; `spent` when that cost an attempt."""

    def on_lost(self, messages: int) -> None:
        """Leases lapsed while the messages were in hand: another consumer has them now."""

    def on_disconnect(self, error: str) -> None:
        """The server became unreachable."""

    def on_reconnect(self, seconds: float) -> None:
        """The server answers again after so many seconds."""
