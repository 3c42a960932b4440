"""How answers go: a client that takes its answer too slowly is left, and does not keep the thread that sends it.

Only time in which the thread waits for the client counts; that in which the answer is made costs the client nothing.
What does not live here: how requests come (`arrivals`), which answers have a place of their own (`crowd`).
"""

import contextlib
import errno
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

RATE = 16_384
"""Bytes per second at which an answer must be taken, on the whole."""

AHEAD = 65_536
"""Bytes that the kernel takes from us beyond what the client has room for. By itself it takes megabytes, and a client
would have minutes for what it never took."""


class NotTaken(ConnectionResetError):
    """Raised when a client does not take its answer, or too slowly."""

    def __init__(self) -> None:
        super().__init__(errno.ECONNRESET, "the client does not take its answer")


class AnswerSocket(socket.socket):
    """A connection that is given up when it takes an answer too slowly. Takes the place of `connection`."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(fileno=connection.detach())
        with contextlib.suppress(OSError):  # it need not be TCP
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, AHEAD)
        self._left = self._most = self._stalled_after = float("inf")

    def begin(self, *, patience: float, stalled_after: float) -> None:
        """Another answer begins. The client may let us wait for `patience` seconds, and longer for what it took.

        But never more than `stalled_after` seconds for its next byte, nor that much beyond its patience.
        """
        self._left, self._most, self._stalled_after = patience, patience + stalled_after, stalled_after

    def at_once(self) -> None:
        """Do not wait: this answer is small, and waits for those before it if for anything."""
        self._left = self._most = 0.0

    def at_any_rate(self) -> None:
        """Let the client take this answer as slowly as it likes, but for standing still."""
        self._left = self._most = float("inf")

    def sendall(self, data: "ReadableBuffer", flags: int = 0, /) -> None:
        """Send; waits for the client as long as it has earned. Raises NotTaken."""
        if self.gettimeout() is not None:
            super().sendall(data, flags)
            return
        view = memoryview(data)
        try:
            while view:
                view = view[self._send(view, flags) :]
        finally:
            self.settimeout(None)

    def _send(self, view: memoryview, flags: int) -> int:
        began = time.monotonic()
        wait = min(self._left, self._stalled_after)
        self.settimeout(None if wait == float("inf") else max(wait, 0.0))
        try:
            count = self.send(view, flags)
        except (TimeoutError, BlockingIOError):
            raise NotTaken from None
        self._left = min(self._left - (time.monotonic() - began) + count / RATE, self._most)
        return count
