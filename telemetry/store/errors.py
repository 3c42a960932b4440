"""What can go wrong with the database, by what follows: wait, try again, look at the data, tell a person."""

import psycopg


class StoreError(Exception):
    """Raised when the database cannot do what was asked."""


class StoreUnavailable(StoreError):
    """Raised when the database cannot be used now; what was to be stored is held and tried again."""


class StoreLost(StoreUnavailable):
    """Raised when a connection breaks, memory runs out, or the server itself errs, in the middle of a statement."""


class StoreDenied(StoreUnavailable):
    """Raised when the server refuses the user, the password or the database's name."""


class StoreBusy(StoreError):
    """Raised when another session was in the way: try again at once."""


class StoreLocked(StoreBusy):
    """Raised when a lock was not to be had within the lock timeout."""


class StoreRefused(StoreError):
    """Raised when the database refuses the data itself."""


class NotMigrated(StoreUnavailable):
    """Raised when the schema is older than this version; `telemetry migrate` brings it up to date."""


_LOST = ("53200", "25P03", "25P04", "40003")
_UNAVAILABLE_CLASSES = ("53", "57", "42", "58", "F0")
_UNAVAILABLE = ("0A000", "25006", "XX001", "XX002")
_BUSY = ("40", "57014")


def translate(error: psycopg.Error) -> StoreError:
    """The error of this package that stands for a driver's, by SQLSTATE (PostgreSQL, Appendix A).

    08, 57, 53, 58 (the server's disk), F0 (its settings), XX001 and XX002 (damaged data, a damaged index), 42, 0A000,
    25006, a server's time-out for transactions (25P03, 25P04) and a connection that breaks are an outage; 40, 55P03
    and 57014 (somebody cancelled the statement) ask for another try. The rest of XX, faults of the server's own like
    "tuple concurrently updated", count as a broken connection: one message alone is to blame only when it meets
    them again and again. Anything else concerns the data.
    """
    state = error.sqlstate
    text = _sentence(error)
    if state is None:
        return _without_state(error, text)
    if state in _LOST or state.startswith(("08", "57P")) or (state.startswith("XX") and state not in _UNAVAILABLE):
        return StoreLost(f"{text} ({state})")
    if state.startswith("28") or state == "3D000":
        return StoreDenied(f"{text} ({state})")
    if state == "55P03":
        return StoreLocked(f"{text} ({state})")
    if state.startswith(_BUSY):
        return StoreBusy(f"{text} ({state})")
    if state[:2] in _UNAVAILABLE_CLASSES or state in _UNAVAILABLE:
        return StoreUnavailable(f"{text} ({state})")
    return StoreRefused(f"{text} ({state})")


def _without_state(error: psycopg.Error, text: str) -> StoreError:
    """Errors that no server sent: connecting failed, the connection broke, or is used after it did."""
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        denied = (
            "authentication failed" in text
            or "no pg_hba.conf entry" in text
            or "no password supplied" in text
            or "does not exist" in text
        )
        return StoreDenied(text) if denied else StoreLost(text)
    return StoreRefused(text)


def _sentence(error: psycopg.Error) -> str:
    """The server's primary message in one line; libpq's own texts never hold a password."""
    text = error.diag.message_primary or str(error) or type(error).__name__
    return " ".join(text.split())
