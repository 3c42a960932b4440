"""CSV exports of any size to measure with, and the counts that must come out of them.

What lives here: calling the generator of `data/` once per size. What does not: what a row looks like (`data/`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fixtures.pipeline import ROOT

FLEET = ("--hosts", "31", "--gpus", "8", "--interval", "15", "--bad-every", "0")
"""As many hosts and GPUs as in the export that this project was made for; 15 GPUs are MIG-split in two parts."""


@dataclass(frozen=True, slots=True)
class Export:
    """A file, and what a careful reader counts in it (by the generator, which knows nothing of the project)."""

    path: Path
    truth: dict[str, Any]

    @property
    def rows(self) -> int:
        """Rows of data, a reading each."""
        rows: int = self.truth["rows"]
        return rows


class Exports:
    """Files in a folder, made when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, rows: int, fleet: tuple[str, ...] = FLEET) -> Export:
        """A file of that many rows."""
        name = "-".join(("export", str(rows), *(word for word in fleet if word.isdigit())))
        path, truth = self.folder / f"{name}.csv", self.folder / f"{name}.truth.json"
        if not truth.exists():
            words = [*fleet, "--rows", str(rows), "--out", str(path), "--truth", str(truth)]
            subprocess.run([sys.executable, str(ROOT / "data" / "generate.py"), *words], check=True)
        return Export(path, json.loads(truth.read_text()))
