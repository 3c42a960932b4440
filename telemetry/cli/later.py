"""Modules that are read when they are asked for: a command does not wait for what it has no use for.

What lives here: how they are read. They are the commands themselves, what is told of an error (`faults`), and what is
drawn for a person (`drawing`). All others stand in import statements.
"""

import gc
from importlib import import_module
from types import ModuleType


def read(name: str) -> ModuleType:
    """The module `telemetry.cli.<name>` and all that it imports, which is kept for good.

    So the collector of garbage would look in vain, again and again: without it the modules of a role are read with a
    tenth less processor time.
    """
    looking = gc.isenabled()
    gc.disable()
    try:
        return import_module(f"telemetry.cli.{name}")
    finally:
        if looking:
            gc.enable()
