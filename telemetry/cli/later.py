"""Modules that are read when they are asked for: a command does not wait for what it has no use for.

What lives here: how they are read. They are the commands themselves, what is told of an error (`faults`), and what is
drawn for a person (`drawing`). All others stand in import statements.
"""

from importlib import import_module
from types import ModuleType


def read(name: str) -> ModuleType:
    """The module `telemetry.cli.<name>` and all that it imports."""
    return import_module(f"telemetry.cli.{name}")
