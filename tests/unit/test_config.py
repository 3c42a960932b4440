"""Settings: where a value comes from, and what a name that is none is answered."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from telemetry import config as c
from telemetry.config import SETTINGS, ConfigError, cache_folder, check_environment, from_environment, spare_threads


def test_each_setting_has_a_flag_and_a_variable_of_its_own_and_a_help() -> None:
    assert len({setting.env for setting in SETTINGS}) == len({setting.flag for setting in SETTINGS}) == len(SETTINGS)
    assert all(setting.env.startswith("TELEMETRY_") for setting in SETTINGS)
    assert all(setting.help.endswith((".", "]")) for setting in SETTINGS)


def test_each_default_is_of_its_kind_and_in_its_range() -> None:
    for setting in SETTINGS:
        if setting.default is not None:
            assert isinstance(setting.default, setting.kind), setting.env
            if not isinstance(setting.default, str):
                assert setting.least is None or setting.default >= setting.least, setting.env
                assert setting.most is None or setting.default <= setting.most, setting.env
            assert not setting.choices or setting.default in setting.choices, setting.env


def test_every_known_variable_passes() -> None:
    check_environment({setting.env: "x" for setting in SETTINGS})
    check_environment({f"{setting.env}_FILE": "x" for setting in SETTINGS if setting.secret})
    check_environment({"PATH": "/bin", "TELEMETRYX": "1"})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TELEMETRY_QUEUE_CAPACTY", "TELEMETRY_QUEUE_CAPACITY"),
        ("TELEMETRY_CAPACITY", "TELEMETRY_QUEUE_CAPACITY"),
        ("TELEMETRY_RATE", "TELEMETRY_STREAMER_RATE"),
        ("TELEMETRY_CSV", "TELEMETRY_STREAMER_CSV"),
        ("TELEMETRY_DATABASE", "TELEMETRY_DATABASE_URL"),
        ("TELEMETRY_DATABASE_URL_FIL", "TELEMETRY_DATABASE_URL_FILE"),
        ("TELEMETRY_STREAMERS", "TELEMETRY_UP_STREAMERS"),
    ],
)
def test_an_unknown_variable_is_told_with_the_one_that_was_meant(name: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} is no setting; did you mean {meant}\\?$"):
        check_environment({name: "1"})


def test_an_unknown_variable_like_no_other_points_to_the_list() -> None:
    with pytest.raises(ConfigError, match="TELEMETRY_ZZZZ is no setting; `telemetry config` lists them"):
        check_environment({"TELEMETRY_ZZZZ": "1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("TELEMETRY_REDIS_PORT", "tcp://10.0.0.1:6379"), ("TELEMETRY_REDIS_SERVICE_HOST", "10.0.0.1")],
)
def test_a_variable_of_kubernetes_is_told_from_a_mistake(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match="enableServiceLinks: false"):
        check_environment({name: value})


def test_a_secret_of_no_variable_may_not_stand_in_a_file() -> None:
    with pytest.raises(ConfigError, match="TELEMETRY_QUEUE_CAPACITY_FILE is no setting"):
        check_environment({"TELEMETRY_QUEUE_CAPACITY_FILE": "/etc/capacity"})


def test_a_variable_wins_over_its_file_and_a_file_over_the_default(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://in-the-file\n")
    both = {"TELEMETRY_DATABASE_URL": "postgresql://in-the-variable", "TELEMETRY_DATABASE_URL_FILE": str(file)}
    assert from_environment(c.DATABASE_URL, both) == ("postgresql://in-the-variable", "TELEMETRY_DATABASE_URL")
    del both["TELEMETRY_DATABASE_URL"]
    assert from_environment(c.DATABASE_URL, both) == ("postgresql://in-the-file", "TELEMETRY_DATABASE_URL_FILE")
    assert from_environment(c.DATABASE_URL, {}) == (None, "default")
    assert from_environment(c.DATABASE_URL, {"TELEMETRY_DATABASE_URL": ""}) == (None, "default")


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file or directory"), (b"", "is empty"), (b" \n", "is empty"), (b"\xff", "is not text")],
)
def test_a_secret_file_that_holds_none_is_told(content: bytes | None, why: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"TELEMETRY_REDIS_URL_FILE: {file}:? {why}"):
        from_environment(c.REDIS_URL, {"TELEMETRY_REDIS_URL_FILE": str(file)})


def test_who_wants_threads_for_algebra_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "8")
    spare_threads()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "8"
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    spare_threads()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"XDG_CACHE_HOME": "/var/cache/me", "HOME": "/home/me"}, Path("/var/cache/me/telemetry")),
        ({"XDG_CACHE_HOME": "not/absolute", "HOME": "/home/me"}, Path("/home/me/.cache/telemetry")),
        ({"XDG_CACHE_HOME": "", "HOME": "/home/me"}, Path("/home/me/.cache/telemetry")),
        ({}, None),
    ],
)
def test_what_can_be_made_again_is_kept_where_the_user_keeps_it(environ: dict[str, str], folder: Path | None) -> None:
    assert cache_folder(environ) == folder
