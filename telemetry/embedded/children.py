"""One child process: forked by a thread of its own, on a leash, its output in bounded files.

What does not live here: what a child is for, restarting it, and the order in which children end.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from telemetry.embedded import leash
from telemetry.embedded.account import Account
from telemetry.embedded.errors import BinaryMissing, StartFailed
from telemetry.embedded.logfiles import LogFile

__all__ = ["Child", "how_it_ended", "wait_until_ready"]

_POLL_SECONDS = 0.02
_TRIM_SECONDS = 1.0


class Child:
    """A process in its own session, which the kernel signals when this one is gone.

    The kernel watches the forking thread, not the process: so `run`, which forks, also stays
    until the child has ended. `start` does that in a thread of its own.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        log: LogFile,
        out: LogFile | None = None,
        cwd: Path | None = None,
        account: Account | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.argv = list(argv)
        self.log = log
        self._out = out
        self._env = dict(env)
        self._cwd = cwd
        self._account = account
        self._death_signal = death_signal
        self._process: subprocess.Popen[bytes] | None = None
        self._forked = threading.Event()
        self._ended = threading.Event()
        self._error: BinaryMissing | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id, None before the fork."""
        return self._process.pid if self._process else None

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs or before it is forked."""
        return self._process.returncode if self._process and self._ended.is_set() else None

    @property
    def alive(self) -> bool:
        """True from the fork to the end."""
        return self._process is not None and not self._ended.is_set()

    def start(self) -> None:
        """Fork, in a thread that stays. Raises BinaryMissing when there is nothing to execute."""
        threading.Thread(target=self._run_quietly, name=f"child {self.argv[0]}", daemon=True).start()
        self._forked.wait()
        if self._error:
            raise self._error

    def run(self, on_fork: Callable[[], None] = lambda: None) -> int:
        """Fork, and stay until the child has ended; give its exit code. Raises BinaryMissing when the fork fails."""
        try:
            self._process = self._fork()
        except OSError as error:
            self._error = BinaryMissing(f"cannot start {self.argv[0]}: {error}")
            self._ended.set()
            self._forked.set()
            raise self._error from error
        self._forked.set()
        try:
            on_fork()
            self._attend(self._process)
        except BaseException:
            self.kill()  # nobody would attend it, nor keep another from being started beside it
            self._process.wait()
            raise
        finally:
            self._ended.set()
        return self._process.returncode

    def wait(self, seconds: float | None = None) -> int | None:
        """Wait until the child has ended; its exit code, or None when the time is over first."""
        self._ended.wait(seconds)
        return self.returncode

    def send(self, number: signal.Signals) -> None:
        """Signal the child; nothing happens when it has ended."""
        if self._process:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the child and whatever it started in its process group."""
        if self._process and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def stop(self, steps: Sequence[tuple[signal.Signals, float]]) -> bool:
        """Signal, and wait the seconds of each step, then kill; True when it ended without."""
        for number, seconds in steps:
            self.send(number)
            if self._ended.wait(seconds):
                return True
        self.kill()
        self._ended.wait()
        return False

    def _run_quietly(self) -> None:
        with contextlib.suppress(BinaryMissing):  # kept for start()
            self.run()

    def _fork(self) -> subprocess.Popen[bytes]:
        user = self._account or Account(-1, -1)
        ids = [str(int(n)) for n in (os.getpid(), self._death_signal, user.uid, user.gid)]
        tied = [sys.executable, "-I", "-S", str(leash.__file__), *ids, "--", *self.argv]
        log = self.log.open()
        out = self._out.open() if self._out else log
        try:
            return subprocess.Popen(  # noqa: S603  argv is built by this package, no shell
                tied,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,
            )
        finally:
            for fd in {log, out}:
                os.close(fd)

    def _attend(self, process: subprocess.Popen[bytes]) -> None:
        with _EndOf(process.pid) as end:
            while not end.wait(_TRIM_SECONDS):
                for file in (self.log, self._out):
                    if file:
                        file.trim()
        process.wait()


class _EndOf:
    """Waits for a child's end without reaping it, so that its pid cannot be reused meanwhile."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._fd = -1
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # no descriptor left
                self._fd = os.pidfd_open(pid)

    def wait(self, seconds: float) -> bool:
        if self._fd < 0:  # also on a Mac: ask ten times a second
            time.sleep(min(seconds, 0.1))
            return os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def __enter__(self) -> _EndOf:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def how_it_ended(code: int) -> str:
    """Say an exit code in words: `exit code 1`, `signal SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def wait_until_ready(child: Child, name: str, is_ready: Callable[[], bool], seconds: float) -> None:
    """Ask until a server is ready. Raises StartFailed with the server's own last words."""
    until = time.monotonic() + seconds
    while not is_ready():
        if child.wait(_POLL_SECONDS) is None and time.monotonic() < until:
            continue
        ended = how_it_ended(child.returncode) if child.returncode is not None else f"not ready in {seconds:g} s"
        said = " | ".join(child.log.tail()) or "nothing"
        raise StartFailed(f"{name} did not start ({ended}); it said: {said}; all of it is in {child.log.path}")
