"""Run as a script between fork and exec: ties a child to its parent's life, and drops root.

    leash.py PARENT SIGNAL UID GID -- PROGRAM [ARGUMENT ...]

A fresh interpreter instead of subprocess' preexec_fn, which is not safe beside threads. It must
not import anything of the project: the interpreter is started isolated (-I -S), for speed too.
What does not live here: who is chosen to run a server (`account`).
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_NO_NEW_PRIVS = 38


def become(uid: int, gid: int) -> None:
    """Give up root for good, with no other groups."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def tie(parent: int, number: int, drop: bool) -> None:
    """Ask the kernel for a signal when the thread that forked this process ends.

    After the change of user, which would clear the request. A parent that ended before the
    request is found by its id.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if drop:
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit(128 + number)


def main(arguments: list[str]) -> None:
    """Do as the module says, then become the program."""
    parent, number, uid, gid = (int(text) for text in arguments[:4])
    program = arguments[5:]
    try:
        if uid >= 0:
            become(uid, gid)
            os.umask(0o077)
        tie(parent, number, drop=uid >= 0)
        os.execv(program[0], program)  # noqa: S606  the point of this file
    except OSError as error:
        sys.stderr.write(f"cannot run {program[0]} as uid {os.geteuid()}: {error}\n")
        sys.exit(126)


if __name__ == "__main__":
    main(sys.argv[1:])
