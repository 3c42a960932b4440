"""How the C heap of a long-lived process gives back what was freed.

What does not live here: the memory pool of Arrow, which is the streamer's (`streamer/memory.py`).
"""

import ctypes

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
"""Numbers of glibc's malloc.h."""
MMAP_BYTES = 4 << 20
"""From this size on an allocation is a mapping of its own, which is gone when it is freed."""
TRIM_BYTES = 8 << 20
"""So many free bytes at the heap's end are kept, the rest goes back. Lower values cost processor time at each block."""


def fix_heap_thresholds() -> bool:
    """Keep glibc from raising its thresholds as it sees larger blocks; False where malloc is another.

    Left alone, glibc takes the size of each freed mapping (up to 32 MiB) as its new threshold and twice that as what
    it keeps (mallopt(3), "dynamic mmap threshold"): memory then wanders by tens of megabytes with the largest block.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, MMAP_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES))
