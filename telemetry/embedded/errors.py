"""The errors of this room: each message is one line that says what to do.

What does not live here: errors of the servers' clients.
"""

__all__ = ["BinaryMissing", "ChildGaveUp", "DataUnusable", "EmbeddedError", "StartFailed", "StateLocked"]


class EmbeddedError(Exception):
    """Raised when an embedded server or a supervised process cannot do its part."""


class BinaryMissing(EmbeddedError):
    """Raised when no server binary is found, or when it cannot be executed."""


class StateLocked(EmbeddedError):
    """Raised when another process holds the state folder."""


class DataUnusable(EmbeddedError):
    """Raised when the data in the state folder are not for this server."""


class StartFailed(EmbeddedError):
    """Raised when a server ended before it was ready, or was not ready in time."""


class ChildGaveUp(EmbeddedError):
    """Raised when a supervised process says that it was started wrongly (exit code 2)."""
