"""A source whose every row is known: files of a simulated fleet, one pass after another, each of its own hour.

What does not live here: what became of the rows (`compare`).
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.fixtures.pipeline import ROOT, Rows, usable

FIRST = datetime(2025, 3, 3, tzinfo=UTC)
HOSTS, GPUS, INTERVAL = 16, 8, 60
MOST_ROWS = 70_000
"""Of a pass: more would reach into the next one's hour."""


class Source:
    """Passes 0, 1, 2 ..: files that are made when they are first asked for. The seed determines every byte."""

    def __init__(self, *, folder: Path, seed: int, rows: int) -> None:
        if rows > MOST_ROWS:
            raise ValueError(f"{rows} rows a pass; {MOST_ROWS} is the most")
        self.folder, self.seed, self.rows = folder, seed, rows
        self._making = threading.Lock()

    def path(self, number: int) -> Path:
        """The file of one pass."""
        path = self.folder / f"pass-{number}.csv"
        with self._making:
            if not path.exists():
                self._make(path, number)
        return path

    def stream(self, number: int) -> str:
        """The stream's id, as a streamer with --once --time source names it."""
        digest = hashlib.sha256(self.path(number).read_bytes()).hexdigest()
        return f"csv@{digest[:12]}:once:source"

    def window(self, number: int) -> tuple[datetime, datetime]:
        """Between which times all readings of a pass lie; the second is not included."""
        start = FIRST + timedelta(hours=number)
        return start, start + timedelta(hours=1)

    def rows_to_store(self, number: int) -> Rows:
        """What must stand in the view, row by row: read by other code than the project's."""
        return Counter(usable(self.path(number)))

    def truth(self, number: int) -> dict[str, Any]:
        """The counts of a pass, from the code that made it: rows, stored, blank, rejected."""
        found: dict[str, Any] = json.loads(self.path(number).with_suffix(".json").read_text())
        return found

    def _make(self, path: Path, number: int) -> None:
        part, start = path.with_suffix(".part"), self.window(number)[0]
        size = ["--hosts", HOSTS, "--gpus", GPUS, "--interval", INTERVAL, "--rows", self.rows]
        terms = ["--seed", self.seed * 1_000 + number, "--start", start.isoformat()]
        files = ["--out", part, "--truth", path.with_suffix(".json")]
        program = [sys.executable, ROOT / "data" / "generate.py"]
        subprocess.run([str(word) for word in (*program, *size, *terms, *files)], check=True)
        part.rename(path)
