"""What the README says is compared with the code, and its queries are run."""

import re
from pathlib import Path

import pytest

from telemetry.config import SETTINGS
from tests.chaos.plan import KINDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TABLE = re.search(r"<!-- settings:.*?-->\n(.*?)<!-- /settings -->", README, re.DOTALL)


def settings_table() -> str:
    lines = ["| variable | flag | default | |", "|---|---|---|---|"]
    for setting in SETTINGS:
        default = "" if setting.default is None else f"`{setting.default}`"
        choices = f" One of {', '.join(f'`{choice}`' for choice in setting.choices)}." if setting.choices else ""
        flag = "--once/--loop" if setting.kind is bool else f"--{setting.flag}"
        lines.append(f"| `{setting.env}` | `{flag}` | {default} | {setting.help}{choices} |")
    return "\n".join(lines) + "\n"


def test_the_table_of_settings_is_the_codes() -> None:
    assert TABLE is not None
    assert TABLE[1] == settings_table()


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", README))))
def test_every_link_leads_somewhere(link: str) -> None:
    assert link.startswith("https://") or (ROOT / link).exists()


def test_every_command_in_the_readme_exists() -> None:
    named = set(re.findall(r"telemetry (up|stream|collect|serve|migrate|verify|prune|retain|config|queue \w+)", README))
    assert {"up", "stream", "collect", "serve", "migrate", "verify", "config", "queue dead"} <= named


def test_the_failure_table_names_tests_and_faults_that_there_are() -> None:
    lines = [line for line in README.splitlines() if line.startswith("| ")]
    rows = [line.split(" | ") for line in lines if "](tests/" in line or "chaos `" in line]
    assert len(rows) > 10
    for row in rows:
        shown = row[-1]
        files = [(ROOT / path).read_text(encoding="utf-8") for path in re.findall(r"\]\((tests/[^)]+)\)", shown)]
        faults = re.findall(r"`([a-z]+\.[a-z_]+)`", shown)
        assert files or faults, f"nothing shows {row[0]}"
        assert set(faults) <= set(KINDS), row
        for name in re.findall(r"`(test_\w+)`", shown):
            assert any(f"def {name}(" in text for text in files), name


def test_every_kind_of_fault_is_in_the_failure_table() -> None:
    assert set(KINDS) <= set(re.findall(r"`([a-z]+\.[a-z_]+)`", README))
