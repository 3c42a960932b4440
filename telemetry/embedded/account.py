"""Who runs the servers when root runs the command, and what that user can reach.

PostgreSQL refuses to run as root. No user is ever added and no folder above the state is changed.
What does not live here: where data and binaries go when they cannot be reached (`place`).
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Account", "account_for", "can_reach", "can_run"]

_NOBODY = 65534


@dataclass(frozen=True)
class Account:
    """A user and its group, by number."""

    uid: int
    gid: int


def _existing(path: Path) -> Path:
    """Give the path itself, or its nearest parent that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def account_for(data: Path) -> Account | None:
    """Choose who runs a server with these data; None: whoever runs this.

    As root: the owner of the data; before there are any, the owner of the nearest folder that
    exists, so that `sudo telemetry up` in a user's clone runs as that user; else nobody. A uid
    without an entry in /etc/passwd (a folder mounted into a container) is passed over: initdb
    does not run under one.
    """
    if os.geteuid() != 0:
        return None
    owner = _existing(data).stat()
    if owner.st_uid != 0 and (data.exists() or _is_known(owner.st_uid)):
        return Account(owner.st_uid, _group_of(owner.st_uid, owner.st_gid))
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:  # an image without /etc/passwd
        return Account(_NOBODY, _NOBODY)
    return Account(nobody.pw_uid, nobody.pw_gid)


def can_reach(account: Account | None, path: Path) -> bool:
    """Say whether a user may pass through every folder above `path`, by the modes of these.

    An access control list that allows more is not seen: then something is copied needlessly.
    """
    if account is None:
        return True
    return all(_may(account, parent.stat(), stat.S_IXUSR) for parent in path.resolve().parents if parent.exists())


def can_run(account: Account | None, program: Path) -> bool:
    """Say whether a user may execute a file."""
    readable = stat.S_IRUSR | stat.S_IXUSR
    return can_reach(account, program) and (account is None or _may(account, program.stat(), readable))


def _may(account: Account, found: os.stat_result, wanted: int) -> bool:
    # the first class that fits decides, as in the kernel; `wanted` is in the owner's bits
    shift = 0 if account.uid == found.st_uid else 3 if account.gid == found.st_gid else 6
    return (found.st_mode << shift) & wanted == wanted


def _is_known(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _group_of(uid: int, otherwise: int) -> int:
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return otherwise
