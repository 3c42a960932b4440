"""One kept index: its bytes with their checksum, or, while it is made, how far that is. The file is its own lock.

It is written in place by whoever holds the lock: half an index is one whose checksum is wrong, and no more than that
can be left behind. What does not live here: which file it belongs to, and whether that is to be trusted (`indexcache`).
"""

import errno
import fcntl
import hashlib
import os
import stat
from contextlib import suppress
from dataclasses import fields
from typing import Any, cast, get_origin, get_type_hints

import numpy as np
import orjson

from telemetry.streamer.sources.index import Index

MOST_BYTES = 4 << 20
"""Of a file. MAX_MARKS offsets take 1.3 MB."""


class IndexFile:
    """An entry of a folder (a descriptor), made when it is missing.

    Raises OSError when it cannot be opened or locked, or may be of somebody else's writing.
    """

    def __init__(self, folder: int, name: str) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._name, self._locked = name, False
        self._fd = os.open(name, flags, 0o600, dir_fd=folder)
        try:
            self._check_ours()
            self._lock()
        except OSError:
            os.close(self._fd)
            raise

    def close(self) -> None:
        """Close it, which also ends the lock, as the end of the process does."""
        os.close(self._fd)

    def lock(self) -> bool:
        """Take the lock unless another process has it; whether this one has it now."""
        with suppress(OSError):
            self._lock()
        return self._locked

    def read(self) -> Index | None:
        """The index, if it is there and whole."""
        with suppress(OSError, ValueError, TypeError):
            checksum, _, body = self._bytes(MOST_BYTES).partition(b"\n")
            if checksum == self._checksum(body):
                os.utime(self._fd)  # those that are not used go first
                return decode(body)
        return None

    def done(self) -> int:
        """How many bytes of the file are indexed by now, -1 when that is unknown."""
        with suppress(OSError, ValueError):
            return int(self._bytes(20))
        return -1

    def tell(self, done: int) -> None:
        """Say so to those who wait; the lock is this process's, else nothing is said."""
        if self._locked:
            with suppress(OSError):
                os.pwrite(self._fd, b"%020d" % done, 0)

    def keep(self, index: Index) -> None:
        """Write the index if the lock is this process's. On a full disk nothing is kept."""
        if not self._locked:
            return
        body = encode(index)
        with suppress(OSError):
            self._write(self._checksum(body) + b"\n" + body)

    def _check_ours(self) -> None:
        status = os.fstat(self._fd)
        ours = status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if not ours or status.st_nlink > 1:
            raise OSError(errno.EPERM, f"{self._name} is no file of this user's alone")

    def _lock(self) -> None:
        with suppress(BlockingIOError):
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._locked = True

    def _write(self, data: bytes) -> None:
        try:
            os.ftruncate(self._fd, 0)
            if os.pwrite(self._fd, data, 0) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.ftruncate(self._fd, 0)
            raise

    def _bytes(self, most: int) -> bytes:
        return os.pread(self._fd, most, 0)

    def _checksum(self, body: bytes) -> bytes:
        """Of body and name: an entry under another's name is none."""
        return hashlib.sha256(self._name.encode() + body).hexdigest().encode()


def encode(index: Index) -> bytes:
    """All fields of an index as JSON, an array under the name of its type."""
    values = {field.name: getattr(index, field.name) for field in fields(index)}
    plain = {
        name: {value.dtype.str: value} if isinstance(value, np.ndarray) else value for name, value in values.items()
    }
    return orjson.dumps(plain, option=orjson.OPT_SERIALIZE_NUMPY)


def decode(body: bytes) -> Index:
    """The index again. Raises ValueError or TypeError when it is none, or has other fields than those of today."""
    found = orjson.loads(body)
    if not isinstance(found, dict):
        raise ValueError("an index is an object")
    values = {name: _array(value) if isinstance(value, dict) else value for name, value in found.items()}
    for name, kind in get_type_hints(Index).items():
        if type(values.get(name)) is not (get_origin(kind) or kind):
            raise TypeError(f"{name} of an index is of another type")
    return Index(**cast(Any, values))


def _array(value: dict[str, Any]) -> np.ndarray[Any, Any]:
    [(kind, items)] = value.items()
    return np.array(items, kind)
