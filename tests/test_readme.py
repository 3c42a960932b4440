"""What the README says is compared with the code, and its queries are run."""

import re
from pathlib import Path

import pytest

from telemetry.config import SETTINGS

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
    named = set(re.findall(r"telemetry (up|stream|collect|serve|migrate|verify|prune|config|queue \w+)", README))
    assert {"up", "stream", "collect", "serve", "migrate", "verify", "config", "queue dead"} <= named
