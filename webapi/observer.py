"""The queue as the API reaches it: an observer that takes no message, and a guest when a dead one is to go back.

What lives here: one topic per process, and who may try it while it is away. What does not: what is asked of it (the
nouns), what its errors look like (`queueproblems`).
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from telemetry.broker import Broker, BrokerError, BrokerUnavailable, Topic
from webapi.options import QueuePlace

NAME = "telemetry-api"


class NoQueue(BrokerError):
    """Raised when the API was not told of a queue."""


class Observer:
    """The topic of `place`; None: there is none. Connects when it is first asked, so that workers may be forked.

    Raises BrokerError when `place` names no queue.
    """

    def __init__(self, place: QueuePlace | None) -> None:
        self._topic = None if place is None else _topic_of(place)
        self._away: BrokerUnavailable | None = None
        self._trying = threading.Lock()

    @contextmanager
    def topic(self) -> Iterator[Topic]:
        """The topic, for one question. After an outage one request at a time finds out whether it is over.

        The others are refused at once with what was wrong last, so that a queue that hangs never holds more than one
        thread. Raises BrokerError: what it says is not for a client, as it may name hosts and keys.
        """
        if self._topic is None:
            raise NoQueue("this API was given no queue")
        away = self._away
        if away is not None and not self._trying.acquire(blocking=False):
            raise type(away)(str(away))
        try:
            yield self._topic
            self._away = None
        except BrokerUnavailable as error:
            self._away = error
            raise
        finally:
            if away is not None:
                self._trying.release()

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
