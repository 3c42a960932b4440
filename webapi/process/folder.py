"""The folder in which a server's processes share the files of their metrics.

A server that is killed cannot remove its folder, so the next one does. A lock tells which are in use: all processes
of a server hold it, and it ends with the last of them, however that ends.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "telemetry-serve-"


def make_folder() -> Path:
    """A new folder, locked until this process and its forks have ended; removes those that nobody holds."""
    for stale in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if (lock := _lock(stale, fcntl.LOCK_NB)) is not None:
            shutil.rmtree(stale, ignore_errors=True)
            os.close(lock)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        _lock(folder)
        if folder.is_dir():  # else another server that starts found it before it was locked
            return folder


def _lock(folder: Path, how: int = 0) -> int | None:
    """The descriptor that holds the lock; None when it is not to be had, or when this is no folder of ours."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if os.fstat(descriptor).st_uid == os.geteuid():
                fcntl.flock(descriptor, fcntl.LOCK_EX | how)
                return descriptor
        except OSError:
            pass
        os.close(descriptor)
    return None
