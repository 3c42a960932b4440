"""Which index is kept for which file, so that of the streamers of one machine only the first reads it through.

An index says under which identity rows are stored once: a wrong one would lose rows. So it is kept and used only for a
file that has the same device, inode, size and times, down to the nanosecond, since this start of the machine; of which
any later change would show in these; and in a folder that nobody but this user can write to. Whatever is odd means: no
cache. Unseen by times, here and while a file is read, is only what a program writes through a mapping (mmap) to a page
that it changed some seconds before. What does not live here: an index (`index`), the file it is kept in (`indexfile`).
"""

import errno
import hashlib
import logging
import os
import re
import stat
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from telemetry.runtime.clock import Clock, SystemClock
from telemetry.runtime.logs import log_event
from telemetry.streamer.sources.index import Index
from telemetry.streamer.sources.indexfile import IndexFile

log = logging.getLogger(__name__)

Progress = Callable[[int], None] | None
"""progress(bytes done)"""

LEAST_BYTES = 16 << 20
"""A smaller file is read through in some 20 ms, and needs no cache."""
RACY_NS = 2_000_000_000
"""A file changed so recently may change again within one tick of its file system's clock, unseen (FAT: 2 s)."""
ENTRIES = 16
"""Files kept, the oldest of them go: 1.3 MB each at most."""
PATIENCE = 5.0
"""Seconds without a sign of who makes the index until another makes it for itself: that process may be stopped."""
LOOK_EVERY = 0.01

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_SECOND_NS = 1_000_000_000
_NAME = re.compile(r"[0-9a-f]{40}\.index\Z")


class Stamp(NamedTuple):
    """What tells a file and its state. No program can set back the last of it, the time of the inode's last change."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class IndexCache:
    """Indexes in a folder, made when it is missing. The constructor does no I/O, and no method fails for the cache."""

    def __init__(self, *, folder: Path, least_bytes: int = LEAST_BYTES, clock: Clock | None = None) -> None:
        self._folder, self._least_bytes, self._clock = folder, least_bytes, clock or SystemClock()

    def index(self, file: int, shape: tuple[int, int], make: Callable[[Progress], Index], progress: Progress) -> Index:
        """The index of an open file: a kept one; else what `make` gives, which is then kept.

        `shape` is what `make` reads the file with. Who comes while another process makes it waits for that one.
        `progress` is called all the while; what it raises, and what `make` raises, ends this.
        """
        now = int(self._clock.time() * _SECOND_NS)  # first: what changes from here on has a later time
        entry, stamp = None, _stamp(file)
        try:
            if stamp.size < self._least_bytes:
                raise _no("the file is small")
            check_times(stamp, now)
            entry = self._entry(stamp, shape)
        except OSError as error:
            log_event(log, logging.DEBUG, "indexing the file without a cache", why=error.strerror)
        if entry is None:
            return make(progress)
        with closing(entry):
            found = self._awaited(entry, stamp.size, progress)
            return _made(entry, stamp, file, make, progress) if found is None else found

    def _entry(self, stamp: Stamp, shape: tuple[int, int]) -> IndexFile:
        made_for = (_BOOT.read_bytes(), _code(), tuple(stamp), shape)
        name = f"{hashlib.sha256(repr(made_for).encode()).hexdigest()[:40]}.index"
        folder = _open_folder(self._folder)
        try:
            _remove_oldest(folder, name)
            return IndexFile(folder, name)
        finally:
            os.close(folder)

    def _awaited(self, entry: IndexFile, size: int, progress: Progress) -> Index | None:
        """The index of so many bytes, as soon as it is there; None when this process is to make it."""
        done, since = -1, self._clock.monotonic()
        while True:
            mine = entry.lock()
            if (found := entry.read()) is not None and found.size == size:
                log_event(log, logging.DEBUG, "took the index of the file from the cache", folder=self._folder)
                _tell(progress, found.size)
                return found
            if mine:
                return None
            if (now_done := entry.done()) != done:
                done, since = now_done, self._clock.monotonic()
            elif self._clock.monotonic() - since > PATIENCE:
                log_event(log, logging.DEBUG, "whoever indexes the file does not get on; indexing it here too")
                return None
            _tell(progress, max(0, done))
            time.sleep(LOOK_EVERY)


def _made(entry: IndexFile, stamp: Stamp, file: int, make: Callable[[Progress], Index], progress: Progress) -> Index:
    def both(done: int) -> None:
        entry.tell(done)
        _tell(progress, done)

    index = make(both)
    if _stamp(file) == stamp and index.size == stamp.size:  # who opened the file may have seen it shorter
        entry.keep(index)
    return index


def _tell(progress: Progress, done: int) -> None:
    if progress is not None:
        progress(done)


def _stamp(file: int) -> Stamp:
    status = os.fstat(file)
    return Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def check_times(stamp: Stamp, now: int) -> None:
    """Raise OSError for a file whose times might not tell that it changed after `now` (ns)."""
    if max(stamp.modified_ns, stamp.changed_ns) > now - RACY_NS:
        raise _no("the file has just changed")
    if not stamp.changed_ns % _SECOND_NS:
        raise _no("its file system seems to know whole seconds only")


def _code() -> bytes:
    """What finds records: after an upgrade it may find others, and says so by itself."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    if not files:
        raise _no("this program has no source code to tell its version by")
    return b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)


def _open_folder(path: Path) -> int:
    """A descriptor of the folder. Raises OSError unless it is ours alone."""
    if not path.is_dir():
        above = next(parent for parent in path.parents if parent.exists())
        if above.stat().st_uid not in (0, os.geteuid()):
            raise _no(f"{above} is another user's")  # whose clean-up a folder of ours in there would be
        for missing in reversed([one for one in (path, *path.parents) if not one.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(folder)
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        os.close(folder)
        raise _no(f"others may write to {path}")
    return folder


def _remove_oldest(folder: int, but: str) -> None:
    """Make room for one more."""
    others = [name for name in os.listdir(folder) if _NAME.match(name) and name != but]
    if len(others) < ENTRIES:
        return
    ages: list[tuple[int, str]] = []
    for name in others:
        with suppress(FileNotFoundError):  # another process does the same
            ages.append((os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime_ns, name))
    for _, name in sorted(ages)[: len(others) - ENTRIES + 1]:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)


def _no(why: str) -> OSError:
    return OSError(errno.EPERM, why)
