"""The API as a process: gunicorn with threads, started from here and not from a command line of its own.

What lives here: sockets, workers, their end. What does not: the app (`app`), settings, what a person is told.
"""

import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn import glogging
from gunicorn.app.base import BaseApplication
from prometheus_flask_exporter.multiprocess import GunicornPrometheusMetrics

from telemetry.runtime import log_event
from telemetry.runtime.shared import DIRECTORY, bury, share_values
from webapi.app import close, create_app
from webapi.live import stream
from webapi.options import ApiOptions
from webapi.process.arrivals import CONNECTIONS, PATIENCE
from webapi.process.crowd import PAGES, SCRAPES
from webapi.process.folder import make_folder
from webapi.process.worker import STALLED_AFTER, ApiWorker
from webapi.scraped import counting

log = logging.getLogger(__name__)

PORT_TAKEN = 2
"""The exit code when nothing can listen there."""

SPARE = 2
"""Threads beside those for requests: one that may wait for a check of readiness, one that never waits."""

KEEPALIVE = 75
"""Seconds that a connection may be idle between requests: longer than proxies keep theirs (60 s), which else send a
request just as it is closed. Idle ones make room for others (`arrivals`)."""

Ready = Callable[[str, int], None]
"""Told the host and the real port once requests are taken."""


def serve(
    *,
    database_url: str,
    host: str = "127.0.0.1",
    port: int = 8080,
    workers: int = 1,
    threads: int = 8,
    grace: float = 25.0,
    stalled_after: int = STALLED_AFTER,
    patience: float = PATIENCE,
    options: ApiOptions | None = None,
    ready: Ready | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Call it from the main thread.

    Each of the `workers` works on `threads` requests at a time and refuses others with 503; probes are not counted.
    Port 0 takes a free one. At SIGTERM, and when the terminal is closed, no connection is taken any more, and
    requests under way have `grace` seconds. A client that takes nothing of its answer for `stalled_after` seconds is
    left, and so is one whose request takes more than `patience` seconds to come, or its body or the answer more than
    that and what their size allows.
    Raises StoreError when `database_url` is no URL of PostgreSQL.
    """
    # One for readiness; an export asks for names beside the statement that it reads from.
    options = replace(options or ApiOptions(), requests=threads, connections=2 * threads + 1)
    create_app(database_url=database_url, options=options)  # wrong options speak here, not in a worker
    try:
        listener = _listen(host, port)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        print(f"cannot listen on {host}:{port}: {why}; choose another, or end what has it", file=sys.stderr)
        return PORT_TAKEN
    logging.getLogger("psycopg.pool").setLevel(logging.WARNING)  # it tells of every connection that is lent
    parent, folder, real_port = os.getpid(), make_folder(), listener.getsockname()[1]
    settings = {
        "bind": f"fd://{listener.detach()}",
        "workers": workers,
        # As many requests may wait for room; scrapes have two.
        "threads": 2 * threads + PAGES + 2 * SCRAPES + SPARE + options.streams,
        "graceful_timeout": int(grace),
        "worker_class": type(
            "ApiWorker",
            (ApiWorker,),
            {
                "stalled_after": stalled_after,
                "patience": patience,
                "begin_to_end": _end_streams,
                "refused": lambda worker, *said: _refused(worker.app.wsgi(), *said, access_log=options.access_log),
            },
        ),
        "raw_env": [f"{DIRECTORY}={folder}"],
        "child_exit": lambda _arbiter, worker: _bury(folder, worker.pid),
        "post_worker_init": lambda worker: counting.begin(worker.app.wsgi(), options),
        "when_ready": lambda _arbiter: _ready(lambda: ready and ready(host, real_port)),
    }
    try:
        _Server(lambda: create_app(database_url=database_url, options=options), settings).run()
    except SystemExit as end:
        return _ended(end, parent, folder)
    raise AssertionError("gunicorn ends by SystemExit")


def _listen(host: str, port: int) -> socket.socket:
    """Bound here, because gunicorn would try five times and tell of each. Raises OSError."""
    with contextlib.suppress(OverflowError):
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    raise OSError(f"{port} is no port")


def _ended(end: SystemExit, parent: int, folder: Path) -> int:
    """The exit code. A worker, which is a fork, ends here: what the caller does afterwards is not for it to do."""
    code = end.code if isinstance(end.code, int) else int(end.code is not None)
    if os.getpid() != parent:
        logging.shutdown()
        os._exit(code)
    shutil.rmtree(folder, ignore_errors=True)
    return code


def _ready(tell: Callable[[], object]) -> None:
    """gunicorn would start its workers anew at SIGHUP; a closed terminal ends this server as it ends every role."""
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    tell()


class _Server(BaseApplication):
    """gunicorn's application: its settings, and the app, which is made once and inherited by all workers."""

    def __init__(self, make: Callable[[], Flask], settings: dict[str, Any]) -> None:
        self._make, self._settings = make, settings
        super().__init__()

    def load_config(self) -> None:
        fixed = {
            "preload_app": True,
            "logger_class": _Logs,
            "loglevel": "warning",
            "control_socket_disable": True,
            "limit_request_line": 0,  # measured before it comes here
            "worker_connections": CONNECTIONS,
            "keepalive": KEEPALIVE,
            "sendfile": False,  # it would pass by the least rate of answers
            "forwarder_headers": "",  # what a client says of itself is believed from nobody, this machine included
            "secure_scheme_headers": {},
            "forwarded_allow_ips": "",
            "worker_exit": _worker_exit,
        }
        for name, value in (fixed | self._settings).items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        share_values()
        return self._make()


class _Logs(glogging.Logger):
    """gunicorn's log, through ours. Requests are logged by the app (`ApiOptions.access_log`)."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.propagate = True

    def _set_handler(self, *_: Any, **__: Any) -> None:
        return


def _bury(folder: Path, pid: int) -> None:
    """A worker's counts stay, its files do not. When that fails they are read where they are."""
    GunicornPrometheusMetrics.mark_process_dead_on_child_exit(pid)
    try:
        bury(folder, pid)
    except Exception as error:  # whatever it is: the server must not end of it
        log_event(log, logging.DEBUG, "counts of a worker stay in files of its own", pid=pid, error=error)


def _end_streams(worker: ApiWorker) -> None:
    """Nobody waits for the end of what has none."""
    stream.end(worker.app.wsgi())


def _refused(app: Flask, status: int, request_id: str, *, access_log: bool) -> None:
    """Count and tell what the app did not come to see. What it was nobody knows: it was not read."""
    counting.refuse(app, status)
    if access_log:
        log_event(log, logging.INFO, "answered unread", status=status, request_id=request_id)


def _worker_exit(_arbiter: Any, worker: Any) -> None:
    """Say goodbye to the database."""
    app: Flask = worker.app.wsgi()
    close(app)
