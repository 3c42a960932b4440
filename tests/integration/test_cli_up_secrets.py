"""`telemetry up` on servers that exist: its children are told their URLs by private files only."""

from __future__ import annotations

import signal
import stat
from pathlib import Path

import pytest

from tests.fixtures.pipeline import SAMPLE, Pipeline, family_of
from tests.fixtures.process import eventually


@pytest.mark.parametrize(
    "by_file", [pytest.param(False, id="by variable", marks=pytest.mark.slow), pytest.param(True, id="by file")]
)
def test_children_of_up_have_no_password_in_their_environment(
    pipeline: Pipeline, tmp_path: Path, by_file: bool
) -> None:
    state = tmp_path / "state"
    urls = {"TELEMETRY_DATABASE_URL": pipeline.database.owner, "TELEMETRY_REDIS_URL": pipeline.redis.url}
    given = {f"{name}_FILE": str(tmp_path / name) for name in urls} if by_file else urls
    for name, url in urls.items():
        (tmp_path / name).write_text(url)
    up = pipeline.run.begin(
        "up",
        "--json",
        "--csv",
        SAMPLE,
        "--api-port",
        0,
        "--rate",
        100,
        cwd=None,
        **{"TELEMETRY_STATE": str(state), **given},
    )
    for role in ("stream", "collect"):
        (pid, *_) = eventually(lambda role=role: family_of(up, role), f"a process `{role}`")  # type: ignore[misc]
        environ = Path(f"/proc/{pid}/environ")
        # of a process that becomes another program just now it is empty
        lines = eventually(environ.read_text, f"the environment of `{role}`").split("\0")
        found = dict(line.split("=", 1) for line in lines if line.startswith("TELEMETRY_"))
        assert not set(urls) & set(found)
        for name, url in urls.items():
            file = Path(found[f"{name}_FILE"])
            assert file.is_relative_to(state)
            assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == (url, 0o600)
    pipeline.wait_until_settled(1)
    up.signal(signal.SIGTERM)
    assert pipeline.run.end(up).code == 0
