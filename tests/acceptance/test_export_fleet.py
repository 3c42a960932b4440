"""The real export, read from where DCGM_EXPORT says it lies: what the API says of its fleet is what is known of it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from telemetry.store.ledger import Ledger
from telemetry.store.session import Session
from telemetry.store.writer import Writer
from telemetry.streamer.sources.csvfile import CsvSource
from tests.fixtures.api import Api
from tests.fixtures.store import Database

EXPORT = os.environ.get("DCGM_EXPORT", "")
pytestmark = pytest.mark.skipif(not Path(EXPORT).is_file(), reason="DCGM_EXPORT names no file: the real export")
DAY = {"start_time": "2025-07-18T00:00:00Z", "end_time": "2025-07-19T00:00:00Z"}


@pytest.fixture
def export_api(database: Database, make_api: Callable[..., Api]) -> Api:
    """The app over the export, stored with its own times."""
    source = CsvSource(path=Path(EXPORT), times=True).open()
    with Session(url=database.writer, name="telemetry-test") as session:
        ledger = Ledger(session=session, source="export", length=source.length, stamped=False)
        reserved = ledger.reserve(source.length)
        assert reserved is not None
        Writer(session=session, lease=15.0).store([source.block("export", 0, reserved.rows, None)])
    source.close()
    return make_api(database.reader)


def test_the_fleet_of_the_export_is_what_is_known_of_it(export_api: Api) -> None:
    told = export_api.json("/fleet/summary")
    assert (told["gpus"], told["reporting"], told["hosts"]) == (247, 247, 31)
    assert told["models"] == [{"model_name": "NVIDIA H100 80GB HBM3", "gpus": 247}]
    assert told["power"] == {"total_watts": 64_997.681, "gpus": 247}
    assert told["memory"]["total_mib"] == 247 * 81_007
    assert (told["as_of"], told["xid"]["gpus"]) == ("2025-07-18T20:42:37.000000Z", 0)
    assert len(export_api.json("/inventory")) == 247
    assert len(export_api.json("/metrics")) == 10
    idle = export_api.json("/fleet/idle", **DAY, min_memory=0)
    assert len(idle) == 128
    assert sum(one["mean_watts"] for one in idle) == pytest.approx(10_241.564, abs=1e-6)
    assert len(export_api.json("/fleet/idle", **DAY)) == 21
    (energy,) = export_api.json("/fleet/energy", **DAY)
    assert (energy["kwh"], energy["covered_seconds"], energy["readings"], energy["gpus"]) == (0, 0, 247, 247)
