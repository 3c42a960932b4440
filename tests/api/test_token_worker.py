"""A worker that begins after the file of tokens changed: what its parent knew at its start holds no more.

What does not live here: a file that changes or breaks under a running worker, and all else about tokens (`test_auth`).
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.fixtures.api import Answer, Serve, fetch
from tests.fixtures.process import eventually
from tests.fixtures.tokens import Keyring
from webapi.security.tokens import to_text


def test_a_revoked_token_does_not_come_back_with_a_new_worker(serve: Callable[..., Serve], keyring: Keyring) -> None:
    served = serve(tokens=str(keyring.path))

    def statuses() -> tuple[int, int]:
        asked = [fetch(f"{served.url}/api/v1/gpus", headers=keyring.header(name)).status for name in ("read", "write")]
        return asked[0], asked[1]

    def ready() -> Answer:
        return fetch(f"{served.url}/readyz")

    assert statuses() == (200, 200)
    without = to_text([token for token in keyring.kept if token.name != "read"])
    keyring.path.write_text(without)
    replace_worker(served)
    assert statuses() == (401, 200)  # at once, not after the time between two looks

    keyring.path.write_text("broken")
    eventually(lambda: b"[+] tokens ok, but" in ready().body, "the remark")
    assert statuses() == (401, 200)
    replace_worker(served)
    assert statuses() == (401, 401)
    eventually(lambda: b"[-] tokens: their file cannot be used" in ready().body, "a check in time")
    assert ready().status == 503
    assert served.process.stderr.count("and this process never read it: it takes none") == 1

    keyring.path.write_text(without)
    eventually(lambda: ready().status == 200, "the file that can be used again")
    assert statuses() == (401, 200)


def replace_worker(served: Serve) -> None:
    """SIGKILL the worker, and wait for the next one."""
    children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children")
    [old] = children.read_text().split()
    os.kill(int(old), signal.SIGKILL)
    eventually(lambda: (now := children.read_text().split()) and old not in now, "a new worker")
