"""The file of tokens as a server sees it: read again when it changed, without a restart.

What does not live here: what stands in it (`tokens`), who writes it (`telemetry.cli.token`, or a Kubernetes Secret).
"""

import logging
import os
import threading
import time
from pathlib import Path

from telemetry.runtime import log_event
from webapi.security.tokens import BadTokens, Token, find, of_text

LOOK_EVERY = 1.0
"""Seconds between looks at whether the file changed, at least."""

SIZE_MAX = 1 << 20
"""Bytes that are read of it."""

log = logging.getLogger(__name__)

_Mark = tuple[int, ...]
_STAY = "the file of tokens cannot be used; the last good ones stay"
_SHUT = "the file of tokens cannot be used, and this process never read it: it takes none"


class TokenFile:
    """The tokens of a file. When it cannot be used any more, those that it held last stay in force.

    A fork knows those of its parent's start only, of which some may have been revoked since: it looks for itself before
    it takes one, and takes none until it could read the file. `look_every` is in seconds. May be asked from any thread.
    """

    def __init__(self, path: Path, *, look_every: float = LOOK_EVERY) -> None:
        self._path, self._look_every = path, look_every
        self._lock = threading.Lock()
        self._looked, self._mark = float("-inf"), None  # type: tuple[float, _Mark | None]
        self._tokens: tuple[Token, ...] = ()
        self._fault, self._shut, self._process = "", False, os.getpid()

    def open(self) -> None:
        """Read it the first time. Raises BadTokens when it cannot be used."""
        self._mark, self._tokens = _read(self._path)
        self._looked, self._process = time.monotonic(), os.getpid()

    def find(self, text: str) -> Token | None:
        """The token that a request showed, expired or not."""
        self._look()
        return find(self._tokens, text)

    def remark(self) -> str:
        """Why the file as it is now cannot be used; empty when it can."""
        self._look()
        return self._fault

    @property
    def shut(self) -> bool:
        """Whether no token is taken, because this process could not read the file yet; as of the last question."""
        return self._shut

    def _look(self) -> None:
        """Read the file again if it changed; whoever comes while another looks takes what there is."""
        if self._process != os.getpid():
            self._begin()
        if time.monotonic() - self._looked < self._look_every or not self._lock.acquire(blocking=False):
            return
        try:
            self._looked = time.monotonic()
            if self._fault or _mark(self._path) != self._mark:
                self._replace()
        finally:
            self._lock.release()

    def _begin(self) -> None:
        """The first look of a fork: everybody waits for it."""
        with self._lock:
            if self._process == os.getpid():
                return
            self._looked = time.monotonic()
            if _mark(self._path) != self._mark:
                self._tokens, self._shut = (), True
                self._replace()
            self._process = os.getpid()

    def _replace(self) -> None:
        try:
            self._mark, self._tokens = _read(self._path)
        except BadTokens as error:
            if str(error) != self._fault:
                log_event(log, logging.ERROR, _SHUT if self._shut else _STAY, why=error)
            self._fault = str(error)
            return
        self._fault, self._shut = "", False
        log_event(log, logging.INFO, "the file of tokens was read again", tokens=len(self._tokens))


def _mark(path: Path) -> _Mark | None:
    """What changes when the file does: also when a symbolic link to it is turned, as Kubernetes does."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def read_tokens(path: Path) -> tuple[Token, ...]:
    """The tokens of a file. Raises BadTokens, naming the file."""
    try:
        # Opened without waiting for a writer: a pipe in its place would keep the request that looks.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            content = file.read(SIZE_MAX + 1)
        if len(content) > SIZE_MAX:
            raise BadTokens(f"has more than {SIZE_MAX} bytes")
        return of_text(content.decode())
    except OSError as error:
        raise BadTokens(f"{path}: {error.strerror}; `telemetry token create NAME --file {path}` makes one") from None
    except UnicodeDecodeError:
        raise BadTokens(f"{path}: is not text") from None
    except BadTokens as error:
        raise BadTokens(f"{path}: {error}") from None


def _read(path: Path) -> tuple[_Mark | None, tuple[Token, ...]]:
    """The mark from before reading, so that a change meanwhile is seen at the next look."""
    return _mark(path), read_tokens(path)
