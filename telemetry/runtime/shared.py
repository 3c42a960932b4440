"""Metrics that several processes of one role keep together.

prometheus_client decides when it is first imported whether values live in memory or in files that all processes
share; a server that forks its workers only knows later. What does not live here: the metrics, the server.
"""

from prometheus_client import values

__all__ = ["DIRECTORY", "share_values", "shares_values"]

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names the folder of the shared files."""


def share_values() -> None:
    """Keep the values of metrics that are made from now on in DIRECTORY, which must be set by now."""
    values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]  # the library's own


def shares_values() -> bool:
    """Whether they are kept there."""
    return bool(values.ValueClass._multiprocess)
