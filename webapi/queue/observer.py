"""The queue as the API reaches it: an observer that takes no message, and a guest when a dead one is to go back.

What lives here: one topic per process, and who may try it while it is away. What does not: what is asked of it (the
nouns), what its errors look like (`queueproblems`).
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from telemetry.broker import Broker, BrokerError, BrokerUnavailable, Topic
from telemetry.store.errors import StoreError
from webapi.options import QueuePlace

NAME = "telemetry-api"
GRAVEYARD_PAUSE = 5.0
"""Seconds for which the number of dead blocks is not asked for after the database was away."""


class NoQueue(BrokerError):
    """Raised when the API was not told of a queue."""


class Door:
    """Keeps requests from waiting together for what is away: an error of `kind` tells.

    After one, a single request at a time tries again, not before `pause` seconds are over. The others get the same
    error at once; so what hangs never holds more than one thread.
    """

    def __init__(self, kind: type[Exception], *, pause: float = 0.0) -> None:
        self._kind, self._pause = kind, pause
        self._away: Exception | None = None
        self._closed_until = 0.0
        self._trying = threading.Lock()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Pass, for one question; raises the error of the last try when another one is not due."""
        away = self._away
        if away is not None and (time.monotonic() < self._closed_until or not self._trying.acquire(blocking=False)):
            raise type(away)(str(away))
        try:
            yield
        except self._kind as error:
            self._away, self._closed_until = error, time.monotonic() + self._pause
            raise
        except Exception:  # it answered, if only to refuse
            self._away = None
            raise
        else:
            self._away = None
        finally:
            if away is not None:
                self._trying.release()


class Observer:
    """The topic of `place`; None: there is none. Connects when it is first asked, so that workers may be forked.

    Raises BrokerError when `place` names no queue.
    """

    def __init__(self, place: QueuePlace | None) -> None:
        self._topic = None if place is None else _topic_of(place)
        self._door = Door(BrokerUnavailable)
        self.graveyard = Door(StoreError, pause=GRAVEYARD_PAUSE)
        """For what the database adds to a look at the queue: it is left out while that is away."""

    @contextmanager
    def topic(self) -> Iterator[Topic]:
        """The topic, for one question.

        Raises BrokerError, as what is asked of it does: what that says is not for a client, as it may name hosts and
        keys.
        """
        if self._topic is None:
            raise NoQueue("this API was given no queue")
        with self._door.open():
            yield self._topic

    def close(self) -> None:
        """Close what is open to the queue."""
        if self._topic is not None:
            self._topic.broker.close()


def _topic_of(place: QueuePlace) -> Topic:
    broker = Broker(
        place.url,
        namespace=place.namespace,
        connect_timeout=place.connect_timeout,
        reply_timeout=place.reply_timeout,
        client_name=f"{NAME}@{socket.gethostname()}",
    )
    return Topic(broker, place.topic, capacity=place.capacity, max_bytes=place.max_bytes)
