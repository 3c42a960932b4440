"""Freed memory goes back: asked of glibc itself, in a process of its own, because a threshold once raised stays."""

import ctypes
import subprocess
import sys

import pytest

from tests.fixtures.process import plain_env

HELD = """
import ctypes, sys
import pyarrow
from telemetry.streamer.memory import keep_memory_steady

class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]

c = ctypes.CDLL(None)
c.malloc.restype = ctypes.c_void_p
c.mallinfo2.restype = Mallinfo2
c.malloc.argtypes, c.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
if sys.argv[1] == "steady":
    keep_memory_steady()
c.free(c.malloc(30 << 20))  # from here on glibc by itself would hold what is smaller
before = c.mallinfo2().hblks
taken = c.malloc(20 << 20)
print(c.mallinfo2().hblks - before, pyarrow.default_memory_pool().backend_name)
"""


def mappings(how: str) -> list[str]:
    """(mappings of its own that 20 MB get after 30 MB were freed, Arrow's pool)."""
    run = subprocess.run([sys.executable, "-c", HELD, how], check=True, capture_output=True, text=True, env=plain_env())
    return run.stdout.split()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="its C library is not glibc 2.33 or newer")
def test_a_streamers_large_blocks_go_back_when_they_are_freed() -> None:
    assert mappings("steady") == ["1", "system"]
    assert mappings("as it is")[0] == "0"
