"""How requests come in, and connections go: slow clients wait in the worker's loop, where they cost nobody a thread.

gunicorn gives a thread to a connection as soon as it said something, waits there for the rest, and lets the whole
worker wait for a client that does not close its side. Here a head is collected by the loop, a body must keep coming,
and a closed connection is drained by the loop. What does not live here: what is answered (`worker`), and how it is
taken (`answers`).
"""

import selectors
import socket
import time
from collections import deque
from functools import partial
from typing import Any

from gunicorn import util
from gunicorn.http.errors import ParseException
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import ThreadWorker
from werkzeug.exceptions import RequestTimeout

from webapi.process.answers import AnswerSocket

LINE_MAX = 56 << 10
"""Bytes of a request's first line, the path and all parameters in it. As long as a question may be that names all it
may: 1,000 GPUs at 45 bytes (&gpu= and a uuid) and 100 metrics at up to 68 take 51,800, and 5,500 are left for the path,
times, names and a cursor. gunicorn's own limit ends at 8,190, so the line is measured here.
"""

CONNECTIONS = 500
"""Open at a time, per worker process; within the 1,024 descriptors that a process commonly may have."""

HEAD_MAX = 64 << 10
"""Bytes of a request's first line and headers: 8 KiB are left for these behind the longest line."""

PATIENCE = 10.0
"""Seconds that a head, or the beginning of a body, may take to come; a connection may be silent as long."""

BODY_RATE = 16_384
"""Bytes per second at which a body must come after that, on the whole."""

LINGER = 2.0
"""Seconds that a client has to close its side of a connection, in which it still can read the answer."""

LINGERING = 100
"""Such connections at a time; beyond them the oldest is closed."""

DRAIN_MAX = 65_536
"""Bytes that are read from such a connection, and thrown away."""

_PIECE = 65_536
_TOO_SLOW = f"The body does not come, or more slowly than {BODY_RATE} bytes a second; send it at once, or in parts."
_AT_ONCE = 0.05
"""Seconds for the rest of a body that nobody read: what has come already, no more."""


class ArrivingWorker(ThreadWorker):
    """gunicorn's worker with threads, which a slow client cannot keep. `patience` is in seconds."""

    patience = PATIENCE

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._lingering: deque[Any] = deque()

    def refuse(self, conn: Any, status: int) -> None:
        """Answer a request whose head will not be read; must not wait."""
        raise NotImplementedError

    def enqueue_req(self, conn: Any) -> None:
        """Collect the head of a request, and give a thread to the connection only then."""
        conn.head = bytearray(conn.parser.unreader.take_buffered() if conn.initialized else b"")
        conn.close = partial(self._close, conn)
        if not conn.initialized:
            conn.sock = AnswerSocket(conn.sock)
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + (self.patience if self.alive else min(LINGER, self.patience))
        if _is_whole(conn.head):
            self._begin(conn)
            return
        if len(self.pending_conns) >= self.worker_connections // 2:  # those who say nothing leave room for who does
            self._expire()
        elif self.nr_conns >= self.worker_connections:
            self._make_room()
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._read_head, conn))
        self._read_head(conn)  # it may be there already

    def _make_room(self) -> None:
        """End the connection that is idle for longest; the last one that may be open must not be the last that is."""
        if self.keepalived_conns:
            self.keepalived_conns[0].timeout = 0.0
            self.murder_keepalived()
        elif self.pending_conns:
            self._expire()

    def _read_head(self, conn: Any, _sock: Any = None) -> None:
        try:
            piece = conn.sock.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        conn.head += piece
        if piece and len(conn.head) <= HEAD_MAX and not _is_whole(conn.head):
            return
        self.poller.unregister(conn.sock)
        self.pending_conns.remove(conn)
        if _is_whole(conn.head):
            self._begin(conn)
        else:
            self._give_up(conn, 431 if b"\n" in conn.head else 414, answer=bool(piece))

    def _begin(self, conn: Any) -> None:
        """Give a thread to a connection whose request may be read without waiting, but for its body."""
        if conn.head.find(b"\n") > LINE_MAX:
            self._give_up(conn, 414, answer=True)
            return
        conn.init()
        reader = BodyReader(conn.sock, self.patience)
        reader.unread(bytes(conn.head))
        conn.parser.unreader, conn.data_ready, conn.head = reader, True, b""
        super().enqueue_req(conn)

    def _give_up(self, conn: Any, status: int, *, answer: bool) -> None:
        """Close a connection whose request has not come whole; say why if it said anything that one can answer."""
        self.nr_conns -= 1
        if answer and conn.head:
            self.refuse(conn, status)
        conn.close(graceful=answer)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Take connections, or not; at the end, those that have said nothing yet are not waited for long."""
        super().set_accept_enabled(enabled)
        if not self.alive:
            for conn in self.pending_conns:
                conn.timeout = min(conn.timeout, time.monotonic() + LINGER)

    def murder_pending(self) -> None:
        """End what took too long: heads, and connections that the other side leaves open. gunicorn calls it often."""
        now = time.monotonic()
        while self.pending_conns and self.pending_conns[0].timeout <= now:
            self._expire()
        while self._lingering and self._lingering[0].timeout <= now:
            self._end(self._lingering[0])

    def _expire(self) -> None:
        """End the connection whose head is longest in coming."""
        conn = self.pending_conns.popleft()
        self.poller.unregister(conn.sock)
        self._give_up(conn, 408, answer=True)

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        """Whether the connection can be used again. gunicorn lets the thread wait 5 s for a body that nobody wants."""
        try:
            return keepalive and bool(conn.parser.finish_body(deadline=time.monotonic() + _AT_ONCE))
        except ParseException:  # the request has its answer already
            return False

    def _close(self, conn: Any, graceful: bool = False) -> None:
        """Close; if gracefully, when the client does so, which gunicorn lets the whole worker wait for.

        Closing at once what still has unread bytes would be a reset, which can take the answer from the client.
        """
        try:
            if not graceful:
                raise OSError
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
        except OSError:
            util.close(conn.sock)
            return
        conn.timeout, conn.drained = time.monotonic() + LINGER, 0
        self._lingering.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._drain, conn))
        if len(self._lingering) > LINGERING:
            self._end(self._lingering[0])

    def _drain(self, conn: Any, _sock: Any) -> None:
        try:
            piece = conn.sock.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        conn.drained += len(piece)
        if not piece or conn.drained > DRAIN_MAX:
            self._end(conn)

    def _end(self, conn: Any) -> None:
        self._lingering.remove(conn)
        self.poller.unregister(conn.sock)
        util.close(conn.sock)


class BodyReader(SocketUnreader):
    """Reads what follows a head. Raises RequestTimeout when that comes too slowly."""

    def __init__(self, sock: socket.socket, patience: float) -> None:
        super().__init__(sock)
        self._patience, self._until = patience, float("inf")

    def chunk(self, size_hint: int | None = None) -> bytes:
        """The next piece; waits for it as long as the pieces before allow, or the socket if that is shorter."""
        if self._until == float("inf"):  # not from the head on: a thread may have been long in coming
            self._until = time.monotonic() + self._patience
        wanted, left = self.sock.gettimeout(), self._until - time.monotonic()
        if left <= 0:
            raise RequestTimeout(_TOO_SLOW)
        self.sock.settimeout(left if wanted is None else min(wanted, left))
        try:
            piece: bytes = super().chunk(size_hint)
        except TimeoutError:
            if wanted is not None and wanted < left:
                raise
            raise RequestTimeout(_TOO_SLOW) from None
        finally:
            self.sock.settimeout(wanted)
        self._until += len(piece) / BODY_RATE
        return piece


def _is_whole(head: bytearray) -> bool:
    """Whether it reaches to its end; the empty lines that may stand before it are taken away (RFC 9112, 2.2)."""
    while head.startswith(b"\r\n"):
        del head[:2]
    return b"\r\n\r\n" in head
