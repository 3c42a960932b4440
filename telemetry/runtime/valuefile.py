"""The file in which a process keeps the values of its metrics for others to read, in prometheus_client's own form.

The library maps its files: where the disk is full when such a page is first written to, the kernel ends the process
(SIGBUS), and no exception tells. Here they are written, which fails as any write does. What does not live here: reading
the files of all processes, and burying a dead one's (`shared`).
"""

import logging
import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client.mmap_dict import MmapedDict

from telemetry.runtime.logs import log_event

__all__ = ["ValueFile", "read_values", "write_values"]

log = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds between two tries to write what a disk had no room for: a full one takes its time to say so."""

_USED, _LENGTH, _PAIR = struct.Struct("i4x"), struct.Struct("i"), struct.Struct("dd")

Values = Mapping[str, tuple[float, float]]
"""Values and their times by key."""


class ValueFile:
    """Takes the place of `MmapedDict`. Not thread safe, as that.

    What the disk has no room for stays in memory, and others do not see it, until there is room again.
    """

    def __init__(self, filename: str) -> None:
        self._path = Path(filename)
        self._file: int | None = None
        self._image = bytearray(_USED.pack(_USED.size))  # what the file is to hold
        self._written = 0  # bytes of it that it does hold
        self._at: dict[str, int] = {}
        self._next_try, self._failed = 0.0, False
        if self._path.exists():  # of a process that had this number before
            for key, pair in read_values(self._path).items():
                _PAIR.pack_into(self._image, self._place(key), *pair)
        self._write()

    def read_value(self, key: str) -> tuple[float, float]:
        """Value and time; of a new key zeros, which others see from now on."""
        at = self._place(key)
        self._write(at)
        value, timestamp = _PAIR.unpack_from(self._image, at)
        return value, timestamp

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Have this value."""
        at = self._place(key)
        _PAIR.pack_into(self._image, at, value, timestamp)
        self._write(at)

    def close(self) -> None:
        """The file stays."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _place(self, key: str) -> int:
        """Where in the image its value is."""
        at = self._at.get(key)
        if at is None:
            self._image += _entry(key)
            _USED.pack_into(self._image, 0, len(self._image))
            at = self._at[key] = len(self._image) - _PAIR.size
        return at

    def _write(self, at: int | None = None) -> None:
        """Bring the value that stands there to the file; all that it lacks, if it lacks anything."""
        try:
            if self._file is None or self._written < len(self._image):
                self._write_all()
            elif at is not None:
                self._put(self._file, at, at + _PAIR.size)
        except OSError as error:
            self._written, self._next_try = 0, time.monotonic() + PAUSE
            if not self._failed:
                self._failed = True
                log_event(log, logging.WARNING, "counts stay in this process", file=self._path.name, error=error)

    def _write_all(self) -> None:
        if time.monotonic() < self._next_try:
            return
        if self._file is None:
            _appear(self._path, bytes(self._image))
            self._file = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        else:
            self._put(self._file, _USED.size, len(self._image))
            self._put(self._file, 0, _USED.size)  # last: it says how far others may read
        self._written = len(self._image)
        if self._failed:
            self._failed = False
            log_event(log, logging.INFO, "counts are shared again", file=self._path.name)

    def _put(self, file: int, begin: int, end: int) -> None:
        while begin < end:
            begin += os.pwrite(file, bytes(self._image[begin:end]), begin)


def read_values(path: Path) -> dict[str, tuple[float, float]]:
    """What stands in a process's file. Raises OSError."""
    found: Any = MmapedDict.read_all_values_from_file(str(path))  # type: ignore[no-untyped-call]  # the library's own
    return {key: (value, timestamp) for key, value, timestamp, _ in found}


def write_values(path: Path, values: Values) -> None:
    """Write such a file. It appears whole, or not at all. Raises OSError."""
    body = b"".join(_entry(key, *pair) for key, pair in values.items())
    _appear(path, _USED.pack(_USED.size + len(body)) + body)


def _appear(path: Path, content: bytes) -> None:
    """Others that read meanwhile find no part of it."""
    whole = path.with_suffix(".new")
    try:
        whole.write_bytes(content)
        os.replace(whole, path)
    except OSError:
        whole.unlink(missing_ok=True)
        raise


def _entry(key: str, value: float = 0.0, timestamp: float = 0.0) -> bytes:
    name = key.encode()
    padding = b" " * (8 - (len(name) + _LENGTH.size) % 8)
    return _LENGTH.pack(len(name)) + name + padding + _PAIR.pack(value, timestamp)
