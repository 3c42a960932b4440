"""The environments that tests and the benchmark start processes in."""

from __future__ import annotations

import pytest

from tests.fixtures.process import clean_env, plain_env


def test_what_is_measured_runs_as_people_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_QUEUE_CAPACITY", "7")
    monkeypatch.setenv("COVERAGE_PROCESS_CONFIG", "{}")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("SOMETHING_ELSE", "kept")
    clean, plain = clean_env(), plain_env()
    assert "TELEMETRY_QUEUE_CAPACITY" not in {*clean, *plain}
    assert set(clean) - set(plain) >= {"COVERAGE_PROCESS_CONFIG", "PYTHONDONTWRITEBYTECODE"}
    assert plain["SOMETHING_ELSE"] == "kept"
