"""What `helm test` asks the API, after its readings were stored: ask.py API CSV [TOKEN_FILE].

Whether the API gives each usable reading of the CSV exactly once. Values of the CSV begin at the unix second in which
it was made (`readings.py`), which tells them from those of other tests. The standard library alone.
"""

import csv
import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

BLANK = 9.2e18
"""DCGM's values from here on mean that there is none."""

PATIENCE = 60.0
"""Seconds that the API has to become ready."""

SKEW = 600
"""Seconds by which the clock of the database, which stamps readings, may be behind this one."""


def usable(file: Path) -> list[tuple[str, float]]:
    """(metric, value) of the rows that should be stored, sorted."""
    found = []
    with file.open(encoding="utf-8", newline="") as text:
        for row in csv.DictReader(text):
            try:
                value = float(row["value"])
            except ValueError:
                continue
            if value < BLANK:
                found.append((row["metric_name"], value))
    return sorted(found)


def ask(url: str, token: str) -> Any:
    """The answer, once there is one. Raises OSError when there is none in time, or it is a refusal."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  the chart's own address
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code < 500 or time.monotonic() > until:
                raise
        except OSError:
            if time.monotonic() > until:
                raise
        time.sleep(1)


def main(arguments: list[str]) -> int:
    """Ask as the command line says; 0 when the answer is right."""
    api, file, *token = arguments
    wanted = usable(Path(file))
    began = int(min(value for _, value in wanted))
    secret = Path(token[0]).read_text(encoding="utf-8").strip() if token else ""
    try:
        records = ask(f"{api}/api/v1/gpus/GPU-helm-test/telemetry?start={began - SKEW}&limit=1000", secret)
    except urllib.error.HTTPError as error:
        if error.code == 401 and not token:
            print("the API wants a token and tests.tokenSecret names none: it answers, more was not asked")
            return 0
        print(f"ask: the API answers {error.code}: {error.read(2000).decode(errors='replace')}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"ask: {api}: {error}", file=sys.stderr)
        return 1
    found = sorted((record["metric_name"], record["value"]) for record in records if int(record["value"]) == began)
    if found != wanted:
        print(f"ask: the API has {found}, the file {wanted}", file=sys.stderr)
        return 1
    print(f"all {len(wanted)} readings are there, each once")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
