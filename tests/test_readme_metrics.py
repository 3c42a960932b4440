"""The README's reference of metrics is the code's, and the code has every metric that it names."""

import re
from pathlib import Path

from telemetry.runtime.measures import BY_NAME, ROLES, Measure

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
TABLE = re.search(r"<!-- metrics:.*?-->\n(.*?)<!-- /metrics -->", README, re.DOTALL)


def metrics_table() -> str:
    lines = ["| metric | kind | why one looks at it |", "|---|---|---|"]
    for place, measures in ROLES.items():
        lines.append(f"| **{place}** | | |")
        lines += [f"| `{shown(one)}` | {one.kind} | {one.why} |" for one in measures]
    return "\n".join(lines) + "\n"


def shown(measure: Measure) -> str:
    return measure.name + (f"{{{','.join(measure.labels)}}}" if measure.labels else "")


def test_the_table_of_metrics_is_the_codes() -> None:
    assert TABLE is not None
    assert TABLE[1] == metrics_table()


def test_no_metric_is_named_twice() -> None:
    names = [one.name for measures in ROLES.values() for one in measures]
    assert sorted(names) == sorted(BY_NAME)
