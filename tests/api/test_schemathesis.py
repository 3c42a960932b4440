"""schemathesis, against `telemetry serve` over a socket: what the contract allows or forbids, the server does too.

All its checks. What is asked here at random is asked by name elsewhere; this finds what nobody thought of. The seeds
are fixed, so that a fault comes again. The long runs: `scripts/test -m slow tests/api/test_schemathesis.py`.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.asked import Asked
from tests.fixtures.process import plain_env

HERE = Path(__file__).parents[1] / "schemathesis"
ENDING = ("--exclude-operation-id", "streamTelemetry")
"""Without streams, each of which would take a second."""


def cases(server: Asked, folder: Path, *words: str) -> int:
    """Run it; how many requests it made. Fails with its report when a check fails."""
    report = folder / "report.json"
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "settings.toml"), "run"]
    settings: tuple[str, ...] = ("--no-color", "--generation-database", "none", "--report-json-path", str(report))
    # how long it takes to think of a request says something of the machine, not of the API
    settings += ("--suppress-health-check", "too_slow")
    env = {**plain_env(), "SCHEMATHESIS_HOOKS": str(HERE / "hooks.py")}
    done = subprocess.run(
        [*command, f"{server.url}/openapi.json", *settings, *words],
        cwd=folder, env=env, capture_output=True, text=True, timeout=1_800,
    )  # fmt: skip
    assert done.returncode == 0, "\n".join(line[:400] for line in done.stdout.splitlines()) + done.stderr
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    assert found["operations"]["tested"] == found["operations"]["selected"] > 10
    return int(found["test_cases"]["generated"])


def bearing(server: Asked, scope: str) -> tuple[str, str]:
    return "-H", f"Authorization: Bearer {server.tokens[scope]}"


def test_a_server_with_tokens_does_what_the_contract_says(asked_guarded: Asked, tmp_path: Path) -> None:
    words = ("--phases", "examples,fuzzing,stateful", "--max-examples", "3", "--seed", "1", *ENDING)
    assert cases(asked_guarded, tmp_path, *bearing(asked_guarded, "admin"), *words) > 100


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_in_all_phases_it_does_so_too(asked_guarded: Asked, tmp_path: Path) -> None:
    words = ("--max-examples", "30", "--seed", "2")
    assert cases(asked_guarded, tmp_path, *bearing(asked_guarded, "admin"), *words) > 1_000


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_a_server_that_asks_for_no_tokens_does_what_the_contract_says(asked: Asked, tmp_path: Path) -> None:
    assert cases(asked, tmp_path, "--max-examples", "30", "--seed", "3") > 1_000


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_without_a_token_everything_is_refused_as_the_contract_says(asked_guarded: Asked, tmp_path: Path) -> None:
    assert cases(asked_guarded, tmp_path, "--max-examples", "5", "--seed", "4") > 500
