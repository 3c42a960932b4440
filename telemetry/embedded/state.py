"""The files of a state folder: its lock, secrets, ports, and the process a crashed run left behind.

Secrets are 0600. Whatever root makes belongs to the owner of the folder it is made in, so that a
user's clone stays the user's after `sudo`. What does not live here: where servers keep data (`place`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import signal
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from telemetry.embedded.account import Account
from telemetry.embedded.errors import EmbeddedError, StateLocked

__all__ = ["FolderLock", "choose_port", "end", "make_folder", "remember", "secret", "survivor", "write_private"]


class FolderLock:
    """Holds a folder for this process until `close`, or until the process is gone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fd: int | None = None

    def open(self) -> None:
        """Take the lock. Raises StateLocked, naming the holder."""
        make_folder(self._folder)
        fd = self._file()
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(fd, 20).decode() or "another process"
            os.close(fd)
            raise StateLocked(
                f"the state folder {self._folder} is held by pid {holder}: stop that process, "
                "or use another folder with --state"
            ) from None
        _own(fd, self._folder)
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        self._fd = fd

    def close(self) -> None:
        """Let go. The file stays: removing it would let two processes lock two files."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _file(self) -> int:
        try:
            return os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise EmbeddedError(
                f"cannot use the state folder {self._folder}: {error.strerror}; name another one with --state"
            ) from error

    def __enter__(self) -> FolderLock:
        self.open()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, that only its owner can list.

    0711 as root, because the unprivileged servers pass through it to their data.
    """
    if path.is_dir():
        return
    make_folder(path.parent)
    try:
        path.mkdir(mode=0o700)
        if os.geteuid() == 0:
            above = path.parent.stat()
            path.chmod(0o711)  # not by mkdir, which a umask of 077 would turn into 0700
            os.chown(path, above.st_uid, above.st_gid, follow_symlinks=False)
    except FileExistsError:  # made by another process since
        return
    except OSError as error:
        raise EmbeddedError(
            f"cannot make the folder {path}: {error.strerror}; name another one with --state"
        ) from error


def write_private(path: Path, text: str, owner: Account | None = None) -> None:
    """Replace a file with one that only its owner can read."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _own(fd, path.parent, owner)
        os.write(fd, text.encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    draft.replace(path)


def secret(path: Path) -> str:
    """Give the password that is kept in a file, making one at the first call."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24))
    return path.read_text().strip()


def choose_port(kept: Path, wanted: int, host: str) -> int:
    """Give the wanted port, else the one of the last run if it is free, else a free one."""
    if wanted:
        if not _is_free(host, wanted):
            raise EmbeddedError(f"port {wanted} on {host} is taken: name another one, or 0 for a free one")
        return wanted
    with contextlib.suppress(OSError, ValueError):
        last = int(kept.read_text())
        if _is_free(host, last):
            return last
    with socket.create_server((host, 0)) as listener:
        return int(listener.getsockname()[1])


def remember(path: Path, pid: int) -> None:
    """Keep a server's pid with its start, for `survivor`."""
    write_private(path, json.dumps({"pid": pid, "started": _started(pid)}))


def survivor(path: Path) -> int | None:
    """Give the pid in a file if that very process still lives: a pid alone may be reused."""
    try:
        kept = json.loads(path.read_text())
        pid, started = int(kept["pid"]), kept["started"]
    except (OSError, ValueError, KeyError, TypeError):  # half written, or not by us
        return None
    return pid if started is not None and started == _started(pid) else None


def end(pid: int, signals: Iterable[tuple[signal.Signals, float]]) -> None:
    """End a process that is no child of this one: each signal with the seconds it may take."""
    started = _started(pid)
    for number, seconds in signals:
        until = time.monotonic() + seconds
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            os.kill(pid, signal.SIGCONT)  # a stopped process would not see the others
        while _started(pid) == started is not None:
            if time.monotonic() > until:
                break
            time.sleep(0.02)
        else:
            return


def _started(pid: int) -> str | None:
    """Boot and clock tick of a living process' start (field 22 of stat, proc(5)); None: it is gone."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{boot} {fields[19]}"


def _is_free(host: str, port: int) -> bool:
    try:
        socket.create_server((host, port)).close()
    except OSError:
        return False
    return True


def _own(fd: int, folder: Path, owner: Account | None = None) -> None:
    if os.geteuid() == 0:
        above = folder.stat()
        os.fchown(fd, owner.uid if owner else above.st_uid, owner.gid if owner else above.st_gid)
