"""Health of a role, and the small HTTP server that tells it: /livez /readyz /healthz /metrics.

Ready: every dependency that the role reports is fine. Live: its loop turned lately. What does not
live here: the checks themselves (a role reports what it sees in its work) and the REST API.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from telemetry.runtime.clock import Clock, SystemClock

__all__ = ["Health", "HealthServer", "Report"]

_LOG = logging.getLogger(__name__)
MAX_CONNECTIONS = 16
MAX_REQUEST_SECONDS = 10.0


@dataclass(frozen=True)
class Report:
    """Checks as (name, ok, why), and their verdict. The why of one that is ok is a remark."""

    checks: tuple[tuple[str, bool, str], ...]

    @property
    def ok(self) -> bool:
        """True when no check fails."""
        return all(ok for _, ok, _ in self.checks)

    def text(self) -> str:
        """One line per check, in the style of Kubernetes' own probes."""
        lines = [_line(*check) for check in self.checks]
        return "\n".join([*lines, "ok" if self.ok else "failed"]) + "\n"


def _line(name: str, ok: bool, why: str) -> str:
    if not ok:
        return f"[-] {name}: {why}"
    return f"[+] {name} ok, but {why}" if why else f"[+] {name} ok"


class Health:
    """What a role reports about itself. All calls are cheap and safe from any thread.

    `expects` names the checks that must be reported before the role can be ready.
    `live_limit` is in seconds: longer without `turned()` and the role is no longer live. It counts
    from construction, so a role that waits long for its dependencies calls `turned()` as it waits.
    """

    def __init__(self, *, expects: Iterable[str] = (), live_limit: float = 60.0, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._limit = live_limit
        self._lock = threading.Lock()
        self._checks = dict.fromkeys(expects, (False, "not reported yet"))
        self._turned = self._clock.monotonic()

    def ready(self, name: str, ok: bool, why: str = "") -> None:
        """Report one dependency; `why` says what fails and what helps."""
        with self._lock:
            self._checks[name] = (ok, why)

    def turned(self) -> None:
        """Report that the loop turned."""
        self._turned = self._clock.monotonic()

    def readiness(self) -> Report:
        """Every reported check."""
        with self._lock:
            return Report(tuple((name, ok, why) for name, (ok, why) in self._checks.items()))

    def liveness(self) -> Report:
        """Whether the loop turned within the limit."""
        age = self._clock.monotonic() - self._turned
        why = f"the loop has not turned for {age:.0f} s, limit {self._limit:g} s"
        return Report((("loop", age <= self._limit, why),))


class HealthServer:
    """Serves one role's health, from a daemon thread. `start` binds; `port` is then the real one.

    Port 0 takes a free port. Prometheus and the probes need few connections: beyond 16 at once the one that has been
    silent for longest is closed, and each after 10 s.
    """

    def __init__(self, *, health: Health, registry: CollectorRegistry, port: int = 0, host: str = "127.0.0.1") -> None:
        self._health = health
        self._registry = registry
        self._address = (host, port)
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """The port that is served; the wanted one before `start`."""
        return self._server.server_address[1] if self._server else self._address[1]

    def start(self) -> None:
        """Bind and serve. Raises OSError when the port is taken."""
        server = _Server(self._address, self._health, self._registry)
        self._server = server
        threading.Thread(target=server.serve_forever, args=(0.1,), name="health", daemon=True).start()

    def close(self) -> None:
        """Stop serving; open connections do not hold it up."""
        server, self._server = self._server, None
        if server:
            server.shutdown()
            server.server_close()

    def __enter__(self) -> HealthServer:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 4 * MAX_CONNECTIONS  # beyond it a probe waits a second for its next SYN
    server_address: tuple[str, int]

    def __init__(self, address: tuple[str, int], health: Health, registry: CollectorRegistry) -> None:
        self.health = health
        self.registry = registry
        self._open: dict[socket.socket, float] = {}
        self._silent: dict[socket.socket, None] = {}
        self._open_lock = threading.Lock()
        super().__init__(address, _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        with self._open_lock:
            if len(self._open) >= MAX_CONNECTIONS and not self._make_room():
                return False
            self._open[request] = time.monotonic()
            self._silent[request] = None
            return True

    def _make_room(self) -> bool:
        """Close the connection that is silent for longest: who wants something says so at once."""
        longest = next(iter(self._silent), None)
        if longest is None:
            return False
        del self._silent[longest], self._open[longest]
        _end(longest)
        return True

    def heard(self, request: Any) -> None:
        """A whole request has come, and is answered."""
        with self._open_lock:
            self._silent.pop(request, None)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.pop(request, None)
            self._silent.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        # The handler's timeout bounds one read; a client that sends a byte at a time needs this.
        limit = time.monotonic() - MAX_REQUEST_SECONDS
        with self._open_lock:
            late = [request for request, since in self._open.items() if since < limit]
        for request in late:
            _end(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        _LOG.debug("a health request failed", exc_info=True)


def _end(request: socket.socket) -> None:
    """Its thread finds the end of it."""
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 5.0
    server_version = "telemetry"
    sys_version = ""
    _paths: ClassVar[tuple[str, ...]] = ("/livez", "/readyz", "/healthz", "/metrics")

    def parse_request(self) -> bool:
        whole = super().parse_request()
        self.server.heard(self.request)
        return whole

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path not in self._paths:
            self._answer(404, f"not found; there is {' '.join(self._paths)}\n")
        elif path == "/metrics":
            self._answer(200, generate_latest(self.server.registry), CONTENT_TYPE_LATEST)
        else:
            report = self._report(path)
            self._answer(200 if report.ok else 503, report.text())

    do_HEAD = do_GET

    def _report(self, path: str) -> Report:
        health = self.server.health
        live, ready = health.liveness(), health.readiness()
        return {"/livez": live, "/readyz": ready}.get(path, Report(live.checks + ready.checks))

    def _refuse(self) -> None:
        known = self.path.partition("?")[0] in self._paths
        self._answer(405 if known else 404, "use GET or HEAD\n")

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def _answer(self, status: int, body: str | bytes, kind: str = "text/plain; charset=utf-8") -> None:
        payload = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(payload)))
        self.send_header("Cache-Control", "no-store")
        if status == 405:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)

    def log_message(self, format: str, *args: Any) -> None:
        _LOG.debug(format, *args)
