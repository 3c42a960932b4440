"""Metrics that several processes of one role keep together.

prometheus_client decides when it is first imported whether values live in memory or in files that all processes
share; a server that forks its workers only knows later. What does not live here: the files (`valuefile`), the
metrics, the server.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import values
from prometheus_client.multiprocess import MultiProcessCollector

from telemetry.runtime.valuefile import ValueFile, read_values, write_values

__all__ = ["DIRECTORY", "Together", "bury", "share_values", "shares_values"]

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names the folder of the shared files."""

_KINDS = ("counter", "histogram", "gauge_max")
"""Files of a process that outlive it."""
_GRAVE, _LOCK = "dead", "lock"


def share_values() -> None:
    """Keep the values of metrics that are made from now on in DIRECTORY, which must be set by now."""
    values.MmapedDict = ValueFile  # type: ignore[attr-defined,assignment]  # a disk that is full must not end the process
    values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]  # the library's own


def shares_values() -> bool:
    """Whether they are kept there."""
    return bool(values.ValueClass._multiprocess)


class Together(MultiProcessCollector):
    """The values of all processes, living and dead; not while a dead one's are moved."""

    def collect(self):  # type: ignore[no-untyped-def]  # as in its base
        """The library's own families."""
        with _locked(Path(self._path), fcntl.LOCK_SH):
            return super().collect()  # type: ignore[no-untyped-call]  # likewise


def bury(folder: Path, pid: int) -> None:
    """Add what a process counted to what all dead ones did: a worker that dies again and again leaves no files behind.

    Called by its parent, once its live gauges are gone. Waits for nobody: while somebody reads, the files stay as they
    are. Raises OSError.
    """
    with _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
        for kind in _KINDS:
            dead, grave = folder / f"{kind}_{pid}.db", folder / f"{kind}_{_GRAVE}.db"
            if dead.exists():
                _add(dead, grave, highest=kind.startswith("gauge"))


def _add(dead: Path, grave: Path, *, highest: bool) -> None:
    """In a copy that takes the grave's place: a disk that is full leaves both as they were."""
    found = read_values(dead)
    for key, (value, _) in read_values(grave).items() if grave.exists() else ():
        other, timestamp = found.get(key, (0.0, 0.0))
        found[key] = max(value, other) if highest else value + other, timestamp
    write_values(grave, found)
    dead.unlink()


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    with (folder / _LOCK).open("a") as file:
        fcntl.flock(file, how)
        yield
