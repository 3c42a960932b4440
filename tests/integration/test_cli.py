"""The command line as a whole: help, settings, exit codes, JSON. Commands run in this process; roles do not begin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from telemetry.cli import cli
from telemetry.cli.admin import config
from telemetry.config import SETTINGS
from tests.fixtures.commands import Call
from tests.fixtures.pipeline import ROOT
from tests.fixtures.store import Database
from tests.fixtures.wait import PATIENCE

SECRET = "open-sesame"


def commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*words, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))


@pytest.mark.parametrize(
    ("words", "command"), list(commands(cli)), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_explains_itself_and_its_options(
    call: Call, words: tuple[str, ...], command: click.Command
) -> None:
    done = call(*words, "--help")
    assert done.code == 0
    assert f"telemetry {' '.join(words)}" in done.out
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{words}: {option.name} has no help"
    if not isinstance(command, click.Group):
        assert any("--json" in option.opts for option in command.params), "no way to get JSON"


def test_the_commands_that_begin_things_give_examples(call: Call) -> None:
    for words in ((), ("up",), ("stream",), ("collect",), ("verify",), ("queue", "dead", "replay")):
        assert call(*words, "--help").out.count("\n  telemetry ") >= (2 if not words else 1), words


def test_help_and_the_list_of_settings_answer_in_spite_of_an_unknown_variable(call: Call) -> None:
    wrong = {"TELEMETRY_RATE": "1"}
    assert call("up", "--help", **wrong).code == 0
    listed = call("config", "--json", **wrong)
    assert listed.code == 2
    assert len(json.loads(listed.out)) == len(SETTINGS)
    assert "did you mean TELEMETRY_STREAMER_RATE?" in listed.err
    refused = call("verify", **wrong)
    assert (refused.code, refused.out) == (2, "")
    assert "did you mean TELEMETRY_STREAMER_RATE?" in refused.err


@pytest.mark.parametrize(
    ("flag", "variable", "value"),
    [
        ("--capacity", "TELEMETRY_QUEUE_CAPACITY", "abc"),
        ("--capacity", "TELEMETRY_QUEUE_CAPACITY", "0"),
        ("--lease", "TELEMETRY_QUEUE_LEASE", "inf"),
        ("--lease", "TELEMETRY_QUEUE_LEASE", "nan"),
        ("--rate", "TELEMETRY_STREAMER_RATE", "-1"),
        ("--rate", "TELEMETRY_STREAMER_RATE", "nan"),
        ("--block-rows", "TELEMETRY_STREAMER_BLOCK_ROWS", "50001"),
        ("--api-port", "TELEMETRY_API_PORT", "65536"),
        ("--time", "TELEMETRY_STREAMER_TIME", "yesterday"),
        ("--once", "TELEMETRY_STREAMER_ONCE", "perhaps"),
        ("--log-level", "TELEMETRY_LOG_LEVEL", "loud"),
    ],
)
def test_a_bad_value_names_flag_and_variable(call: Call, flag: str, variable: str, value: str) -> None:
    by_variable = call("up", **{variable: value})
    assert (by_variable.code, by_variable.out) == (2, "")
    assert flag in by_variable.err
    assert variable in by_variable.err
    if flag != "--once":
        by_flag = call("up", flag, value)
        assert by_flag.code == 2
        assert flag in by_flag.err
        assert value in by_flag.err


def test_what_cannot_work_together_is_refused(call: Call) -> None:
    for words in (("--loop", "--time", "source"), ("--once", "--streamers", 0), ("--once", "--collectors", 0)):
        done = call("up", *words)
        assert (done.code, done.out) == (2, ""), words
        assert str(words[-2]) in done.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nonsense",), "No such command 'nonsense'. (`telemetry --help` tells more)"),
        (("queue", "stats", "--nonsense"), "--nonsense"),
        (("queue", "stats", "--capacity", "0"), "--capacity"),
        (("queue", "dead", "show"), "Missing argument 'NUMBER'. (`telemetry queue dead show --help` tells more)"),
        (("verify",), "--database-url"),
    ],
)
def test_every_refusal_is_one_line_of_one_form(call: Call, words: tuple[str, ...], says: str) -> None:
    done = call(*words)
    (line,) = done.err.splitlines()
    assert line.startswith("telemetry: ")
    assert says in line
    assert done.out == ""


def test_without_words_the_commands_are_shown(call: Call) -> None:
    done = call()
    assert done.code == 2
    assert "  verify " in done.err
    assert not [line for line in done.err.splitlines() if line.startswith("  ") and line.endswith("...")], "cut short"


def test_a_missing_setting_is_named(call: Call) -> None:
    for words, flag in ((("verify",), "--database-url"), (("queue", "stats"), "--redis-url")):
        done = call(*words)
        assert (done.code, done.out) == (2, "")
        assert flag in done.err
        assert "TELEMETRY_" in done.err


def test_a_flag_wins_over_a_variable_and_a_variable_over_its_file(
    call: Call, database: Database, empty_database: Database, tmp_path: Path
) -> None:
    file = tmp_path / "url"
    file.write_text(database.writer)
    migrated, empty = {"TELEMETRY_DATABASE_URL": database.writer}, {"TELEMETRY_DATABASE_URL": empty_database.writer}
    assert call("verify", **migrated).code == 0
    assert call("verify", TELEMETRY_DATABASE_URL_FILE=str(file)).code == 0
    assert call("verify", **empty).code == 3
    assert call("verify", **empty, TELEMETRY_DATABASE_URL_FILE=str(file)).code == 3
    assert call("verify", "--database-url", database.writer, **empty).code == 0


def test_a_database_without_a_schema_is_told_with_the_command_that_makes_it(
    call: Call, empty_database: Database
) -> None:
    url = {"TELEMETRY_DATABASE_URL": empty_database.owner}
    before = call("verify", **url)
    assert before.code == 3
    assert "telemetry migrate" in before.err
    made, again = call("migrate", "--json", **url), call("migrate", "--json", **url)
    assert (made.code, again.code) == (0, 0)
    assert made.result["applied"]
    assert again.result["applied"] == []
    assert "up to date" in call("migrate", **url).out
    assert call("verify", "--json", **url).result == {"streams": [], "orphans": 0, "reconciles": True}


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (("queue", "stats"), "--redis-url"),
        (("verify",), "--database-url"),
        (("serve",), "--database-url"),
        (("serve", "--database-url", "postgresql://u@h:1/db"), "--redis-url"),
        (("serve", "--database-url", "postgresql://u@h:1/db"), "--api-writer-url"),
        (("up",), "--database-url"),
    ],
)
def test_a_url_whose_password_needs_encoding_is_told_how(
    call: Call, tmp_path: Path, words: tuple[str, ...], where: str
) -> None:
    redis, database = f"redis://:p@{SECRET}/w@h:1/0", f"postgresql://u:p@{SECRET}/w:d@h:1/db"
    url = redis if where == "--redis-url" else database
    done = call(*words, where, url, TELEMETRY_STATE=str(tmp_path / "state"), TELEMETRY_API_PORT="0")
    assert (done.code, done.out) == (2, "")
    assert where in done.err
    assert "write @ as %40, / as %2F and : as %3A" in done.err
    assert SECRET not in done.err


def test_the_list_of_settings_shows_no_password(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"redis+sentinel://:{SECRET}@host/master?sentinel_password={SECRET}")
    for url in (f"postgresql://u:{SECRET}@h/d", f"postgresql://h/d?password={SECRET}", f"host=h password='{SECRET}'"):
        for words in (("config",), ("config", "--json")):
            done = call(*words, TELEMETRY_DATABASE_URL=url, TELEMETRY_REDIS_URL_FILE=str(file))
            assert done.code == 0
            assert SECRET not in done.out + done.err
            assert "***" in done.out


def test_the_list_of_settings_says_where_a_value_comes_from(call: Call) -> None:
    rows = json.loads(call("config", "--json", TELEMETRY_QUEUE_CAPACITY="7").out)
    found: dict[str, dict[str, Any]] = {row["variable"]: row for row in rows}
    assert set(found) == {setting.env for setting in SETTINGS}
    assert (found["TELEMETRY_QUEUE_CAPACITY"]["value"], found["TELEMETRY_QUEUE_CAPACITY"]["from"]) == (
        "7",
        "TELEMETRY_QUEUE_CAPACITY",
    )
    assert found["TELEMETRY_QUEUE_TOPIC"]["from"] == "default"


def test_a_fault_of_ours_is_told_in_one_line_with_its_place(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> int:
        raise RuntimeError(f"postgresql://u:{SECRET}@h")

    monkeypatch.setattr(config, "callback", broken)
    done = call("config")
    assert done.code == 70
    (line,) = done.err.splitlines()
    assert "RuntimeError" in line
    assert "test_cli.py:" in line
    assert SECRET not in line


def test_a_reader_that_goes_away_ends_the_command_in_silence() -> None:
    words = [sys.executable, "-m", "telemetry", "config"]
    reading, writing = os.pipe()
    os.close(reading)  # before the command could have written all that it has to say
    try:
        done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, cwd=ROOT, check=False, timeout=PATIENCE)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")
