"""What Arrow is told once in a streamer's process, before its first array.

What does not live here: its memory (`memory`), and any use of it (`sources`).
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import pyarrow as pa


def keep_pandas_out() -> None:
    """Let Arrow look for pandas and find none; does nothing where pandas is in use already.

    Arrow looks at the first array that it makes, and reads pandas where it is installed, to recognise its arrays:
    0.4 s of processor time and 40 MB at the first block of every streamer, which gives Arrow none of them.
    """
    if "pandas" in sys.modules:
        return
    absent = _NoPandas()
    sys.meta_path.insert(0, absent)
    try:
        pa.array([0])  # makes both look: what is written in Cython, and what turns Python's objects into C++
    finally:
        sys.meta_path.remove(absent)


class _NoPandas(MetaPathFinder):
    """As if it were not installed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is kept out", name=fullname)
        return None
