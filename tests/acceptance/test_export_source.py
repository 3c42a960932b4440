"""The real export, read from where DCGM_EXPORT says it lies: what is known of it comes out of the blocks."""

import csv
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from telemetry.streamer.sources.csvfile import CsvSource
from tests.fixtures.exports import NAMES, Reading, checked, stored

EXPORT = os.environ.get("DCGM_EXPORT", "")
pytestmark = pytest.mark.skipif(not Path(EXPORT).is_file(), reason="DCGM_EXPORT names no file: the real export")

FIELD = "DCGM_FI_DEV_{}".format


@pytest.fixture
def source() -> Iterator[CsvSource]:
    opened = CsvSource(path=Path(EXPORT), times=True).open()
    yield opened
    opened.close()


@pytest.fixture
def read(source: CsvSource) -> list[Reading]:
    return stored(checked(source.block("export", 0, source.length, None)))


def by_gpu(read: list[Reading], field: str) -> dict[str, float]:
    return {gpu.uuid: value for gpu, _, metric, value, _ in read if metric == FIELD(field)}


def test_all_readings_of_all_gpus_are_stored(source: CsvSource) -> None:
    block = checked(source.block("export", 0, source.length, None))
    assert (block.rows, block.stored, block.blank, block.rejected) == (2470, 2470, 0, [])
    assert (len(block.gpus), len({gpu.uuid for gpu in block.gpus}), len(block.metrics)) == (247, 247, 10)
    assert len({gpu.hostname for gpu in block.gpus}) == 31
    assert len(block.workloads) == len({gpu.hostname for gpu in block.gpus})  # only `instance` is left to them
    assert len(set((block.time0 + block.dt).tolist())) == 4


def test_power_and_memory_are_what_the_file_says(read: list[Reading]) -> None:
    assert sum(by_gpu(read, "POWER_USAGE").values()) == pytest.approx(64_997.681, abs=1e-6)
    used, free = by_gpu(read, "FB_USED"), by_gpu(read, "FB_FREE")
    assert len(used) == 247
    assert {used[uuid] + free[uuid] for uuid in used} == {81_007}


def test_idle_gpus_are_what_the_file_says(read: list[Reading]) -> None:
    util, power, used = (by_gpu(read, field) for field in ("GPU_UTIL", "POWER_USAGE", "FB_USED"))
    idle = [uuid for uuid, value in util.items() if value == 0]
    assert len(idle) == 128
    assert sum(power[uuid] for uuid in idle) == pytest.approx(10_241.564, abs=1e-6)
    assert sum(used[uuid] > 1_000 for uuid in idle) == 21


def test_every_field_comes_back_byte_for_byte(read: list[Reading]) -> None:
    with Path(EXPORT).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == NAMES
    assert len(rows) == len(read)
    for (gpu, workload, metric, value, labels), raw in zip(read, rows, strict=True):
        assert gpu[:5] == (raw["uuid"], raw["gpu_id"], raw["device"], raw["modelName"], raw["Hostname"])
        assert workload[:3] == (raw["container"], raw["pod"], raw["namespace"])
        assert (metric, value, labels) == (raw["metric_name"], float(raw["value"]), raw["labels_raw"])


def test_the_blocks_of_a_loop_hold_each_reading_as_often_as_it_came_by(source: CsvSource) -> None:
    seen: dict[tuple[str, str], list[int]] = defaultdict(list)
    for first in range(0, 2 * source.length, 130):
        block = checked(source.block("export", first, 130, first))
        times = (block.time0 + block.dt).tolist()
        for (gpu, _, metric, _, _), time in zip(stored(block), times, strict=True):
            seen[gpu.uuid, metric].append(time)
    assert len(seen) == source.length
    assert all(second - first == source.length for first, second in seen.values())
