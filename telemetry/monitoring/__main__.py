"""`python -m telemetry.monitoring [FOLDER]`: write the rules and the dashboards (scripts/dashboards)."""

from __future__ import annotations

import sys
from pathlib import Path

from telemetry.monitoring.written import written

__all__ = ["main"]


def main(folder: Path) -> int:
    """Write everything below `folder`, the chart's. 0 when done, 2 when it cannot be written."""
    try:
        for name, text in written().items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {path}\n")
    except OSError as error:
        sys.stderr.write(f"cannot write {error.filename}: {error.strerror}; name another folder\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(*sys.argv[1:2] or ["helm-chart"])))
