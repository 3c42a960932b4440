"""A bounded queue on Redis Streams: at-least-once, leases kept by heartbeats, dead letters, exact accounts.

What lives here: the API, see `__all__`. README.md beside this file is the protocol. It knows nothing of what the
messages mean.
"""

from telemetry.broker.batch import Batch
from telemetry.broker.breaker import FloodBreaker
from telemetry.broker.client import Backoff, Broker, Stop
from telemetry.broker.consumer import Consumer, ConsumerStatus
from telemetry.broker.deadletters import DeadLetter, DeadLetters, DeadLetterSink
from telemetry.broker.errors import (
    BrokerClosed,
    BrokerDenied,
    BrokerError,
    BrokerUnavailable,
    PublishError,
    TopicFull,
)
from telemetry.broker.hooks import Hooks
from telemetry.broker.leases import Leases
from telemetry.broker.message import Message
from telemetry.broker.producer import Producer, Published
from telemetry.broker.stats import ConsumerStats, TopicStats
from telemetry.broker.topic import Topic

__all__ = [
    "Backoff",
    "Batch",
    "Broker",
    "BrokerClosed",
    "BrokerDenied",
    "BrokerError",
    "BrokerUnavailable",
    "Consumer",
    "ConsumerStats",
    "ConsumerStatus",
    "DeadLetter",
    "DeadLetterSink",
    "DeadLetters",
    "FloodBreaker",
    "Hooks",
    "Leases",
    "Message",
    "Producer",
    "PublishError",
    "Published",
    "Stop",
    "Topic",
    "TopicFull",
    "TopicStats",
]
