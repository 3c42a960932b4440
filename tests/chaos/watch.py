"""Looking on from outside, without a proxy between: how long the queue is, who was given what how often, what API says.

What does not live here: any judgement (`report`).
"""

from __future__ import annotations

import contextlib
import threading
import time
from http.client import HTTPConnection, HTTPException
from typing import Any

import redis

from tests.chaos.world import World

LOOK_EVERY = 0.01
"""Seconds between two looks at the length."""
LIST_EVERY = 0.1
"""Seconds between two looks at who has what."""
ASK_EVERY = 0.5
"""Seconds between two questions to the API."""
MOST = 10_000


class Watch:
    """Two threads, from entering the `with` to its end."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.highest = 0
        self.over = 0
        """Messages above the capacity."""
        self.looks = 0
        self.lived = False
        """Whether both threads looked until the end."""
        self.redelivered = 0
        self.answers: dict[int, int] = {}
        """How often the API answered with which status; 0: not at all."""
        self._counts: dict[bytes, int] = {}
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._look, self._ask)]

    @property
    def spent(self) -> int:
        """Attempts beyond the first that were counted against messages and not set back."""
        return sum(count - 1 for count in self._counts.values())

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.lived = all(thread.is_alive() for thread in self._threads)
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _look(self) -> None:
        keys, client = self.world.topic.keys, self.world.queue.client()
        known, listed = 0, 0.0
        while not self._over.wait(LOOK_EVERY):
            with contextlib.suppress(redis.RedisError, OSError):
                limit = self.world.limit
                depth = int(client.xlen(keys.stream))
                limit = max(limit, self.world.limit)  # it may have been raised before the length was told
                if limit == self.world.terms.capacity:
                    self.highest = max(self.highest, depth)
                self.over = max(self.over, depth - limit)
                self.looks += 1
                if time.monotonic() < listed + LIST_EVERY:
                    continue
                listed = time.monotonic()
                now = int(client.hget(keys.stats, "redelivered") or 0)
                self.redelivered += now - known if now >= known else now
                known = now
                self._list(client.xpending_range(keys.stream, self.world.topic.group, "-", "+", MOST))
        client.close()

    def _list(self, pending: Any) -> None:
        for one in pending:
            self._counts[one["message_id"]] = max(1, one["times_delivered"])

    def _ask(self) -> None:
        while not self._over.wait(ASK_EVERY):
            for path in ("/api/v1/gpus", "/readyz"):
                status = self._get(path)
                self.answers[status] = self.answers.get(status, 0) + 1
                if status >= 500 and status != 503:
                    self.world.memory.violations.append(f"the API answered {status} to {path}")

    def _get(self, path: str) -> int:
        connection = HTTPConnection("127.0.0.1", self.world.api_port, timeout=15)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except (OSError, HTTPException):
            return 0
        finally:
            connection.close()
