"""The error tree of the broker: what went wrong, and so whether a retry makes sense.

What lives here: the classes. Turning the driver's errors into these is `client`'s work.
"""

from collections.abc import Sequence


class BrokerError(Exception):
    """Raised when the broker cannot do what was asked; the base of all errors of this package."""


class BrokerUnavailable(BrokerError):
    """Raised when the server cannot be reached or cannot serve now: the same call may work later."""


class BrokerDenied(BrokerUnavailable):
    """Raised when the server refuses user or password: a retry helps only after somebody changed one of them."""


class GroupMissing(BrokerUnavailable):
    """Raised when the stream or its group vanished (FLUSHALL, another server): joining makes it anew."""


class OutOfMemory(BrokerUnavailable):
    """Raised when the server is at `maxmemory`: what frees memory still works, what needs it does not."""


class TopicFull(BrokerError):
    """Raised when there was no room for a message within the time given.

    `depth` and `capacity` are in messages, as of the last look.
    """

    def __init__(self, message: str, *, depth: int, capacity: int) -> None:
        super().__init__(message)
        self.depth = depth
        self.capacity = capacity


class PublishError(BrokerError):
    """Raised when a message can never be published as it is; `unsent` names the ids, nothing was sent."""

    def __init__(self, message: str, *, unsent: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.unsent = tuple(unsent)


class BrokerClosed(BrokerError):
    """Raised when a call was given up because of a stop signal, or made on a closed object."""
