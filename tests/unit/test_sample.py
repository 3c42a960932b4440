"""The committed sample: made by its generator, byte for byte, and counted here without the generator's help."""

import csv
import json
import math
import re
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parents[2] / "data"
HEADER = "timestamp,metric_name,gpu_id,device,uuid,modelName,Hostname,container,pod,namespace,value,labels_raw"
UUID4 = re.compile(r"GPU-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
LABEL = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="([^"]*)"')
FIELD = {
    "Hostname": "Hostname",
    "UUID": "uuid",
    "__name__": "metric_name",
    "device": "device",
    "gpu": "gpu_id",
    "modelName": "modelName",
    "container": "container",
    "pod": "pod",
    "namespace": "namespace",
}


def generate(*arguments: str) -> None:
    subprocess.run([sys.executable, DATA / "generate.py", *arguments], check=True, timeout=60)


def read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="ascii") as file:
        header, *rows = csv.reader(file)
    assert ",".join(header) == HEADER
    return rows


def fate(row: list[str]) -> str:
    """What must become of a row, by DESIGN: rejected with its reason, blank or stored."""
    if len(row) != 12:
        return "too many fields"
    fields = dict(zip(HEADER.split(","), row, strict=True))
    if not fields["gpu_id"]:
        return "no gpu_id"
    if not fields["uuid"] and not fields["Hostname"]:
        return "no uuid and no hostname"
    try:
        datetime.fromisoformat(fields["timestamp"])
    except ValueError:
        return "time cannot be read"
    if fields["value"].startswith("<<<"):
        return "blank"
    try:
        value = float(fields["value"])
    except ValueError:
        return "value is no number"
    if not math.isfinite(value):
        return "value is not finite"
    sentinel = value >= 9.2e18 or value in (140737488355328.0, 2147483632.0)
    return "blank" if sentinel else "stored"


def count(rows: list[list[str]]) -> dict[str, Any]:
    fates = Counter(map(fate, rows))
    good = [row for row in rows if fate(row) in ("stored", "blank")]
    stored, blank = fates.pop("stored", 0), fates.pop("blank", 0)
    return {
        "rows": len(rows),
        "stored": stored,
        "blank": blank,
        "rejected": sum(fates.values()),
        "rejected_by_reason": dict(sorted(fates.items())),
        "hosts": len({row[6] for row in good}),
        "gpus": len({row[4] or (row[6], row[2]) for row in good}),
        "gpus_without_uuid": len({(row[6], row[2]) for row in good if not row[4]}),
        "mig_instances": len(
            {(row[4], *re.findall('GPU_I_ID="[^"]*"', row[11])) for row in good if "GPU_I_ID" in row[11]}
        ),
        "metrics": len({row[1] for row in good}),
    }


@pytest.fixture(scope="module")
def rows() -> list[list[str]]:
    return read(DATA / "sample.csv")


@pytest.fixture(scope="module")
def good(rows: list[list[str]]) -> list[dict[str, str]]:
    return [dict(zip(HEADER.split(","), row, strict=True)) for row in rows if fate(row) in ("stored", "blank")]


def test_the_recorded_arguments_make_the_committed_bytes_again(tmp_path: Path) -> None:
    recorded = json.loads((DATA / "sample.truth.json").read_text())["arguments"]
    arguments = [part for name, value in recorded.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    generate(*arguments, "--out", str(tmp_path / "again.csv"), "--truth", str(tmp_path / "again.json"))
    assert (tmp_path / "again.csv").read_bytes() == (DATA / "sample.csv").read_bytes()
    assert (tmp_path / "again.json").read_bytes() == (DATA / "sample.truth.json").read_bytes()


def test_another_seed_makes_another_fleet(tmp_path: Path) -> None:
    generate("--seed", "8", "--minutes", "5", "--out", str(tmp_path / "other.csv"))
    ours = {row[4] for row in read(DATA / "sample.csv")}
    theirs = {row[4] for row in read(tmp_path / "other.csv")}
    assert ours & theirs == {""}


def test_the_counts_beside_the_sample_are_true(rows: list[list[str]]) -> None:
    truth = json.loads((DATA / "sample.truth.json").read_text())
    truth.pop("arguments")
    assert count(rows) == truth
    assert truth["rows"] == truth["stored"] + truth["blank"] + truth["rejected"]
    assert len(truth["rejected_by_reason"]) == 6


@pytest.mark.parametrize("wanted", [1, 137, 2600])
def test_rows_are_counted_to_the_last_when_the_file_is_cut_anywhere(tmp_path: Path, wanted: int) -> None:
    out, truth = tmp_path / "cut.csv", tmp_path / "cut.json"
    sizes = ("--hosts", "5", "--gpus", "4", "--interval", "60", "--bad-every", "50", "--rows", str(wanted))
    generate(*sizes, "--out", str(out), "--truth", str(truth))
    expected = json.loads(truth.read_text())
    assert expected["rows"] == wanted
    counted = count(read(out))
    assert {name: counted[name] for name in ("rows", "stored", "blank", "rejected", "rejected_by_reason")} == {
        name: expected[name] for name in ("rows", "stored", "blank", "rejected", "rejected_by_reason")
    }


def test_the_sample_is_written_as_the_export_is(rows: list[list[str]]) -> None:
    raw = (DATA / "sample.csv").read_bytes()
    assert len(raw) < 1_000_000
    assert raw.isascii()
    assert b"\r" not in raw
    header, *lines = raw.decode().splitlines()
    assert header == HEADER
    for line, row in zip(lines, rows, strict=True):
        assert line == ",".join('"' + field.replace('"', '""') + '"' for field in row)


def test_labels_are_in_byte_order_and_agree_with_the_columns(good: list[dict[str, str]]) -> None:
    for fields in good:
        pairs = LABEL.findall(fields["labels_raw"])
        assert ",".join(f'{name}="{value}"' for name, value in pairs) == fields["labels_raw"]
        names = [name for name, _ in pairs]
        assert names == sorted(names)
        labels = dict(pairs)
        for label, column in FIELD.items():
            assert labels.get(label, "") == fields[column]


def test_gpu_ids_repeat_on_every_host_and_uuids_never_do(good: list[dict[str, str]]) -> None:
    ids, places = defaultdict(set), defaultdict(set)
    for fields in good:
        ids[fields["Hostname"]].add(fields["gpu_id"])
        assert fields["device"] == "nvidia" + fields["gpu_id"]
        if fields["uuid"]:
            assert UUID4.fullmatch(fields["uuid"])
            places[fields["uuid"]].add((fields["Hostname"], fields["gpu_id"]))
    assert set(map(frozenset, ids.values())) == {frozenset({"0", "1"})}
    assert all(len(place) == 1 for place in places.values())


def series(good: list[dict[str, str]], metric: str) -> dict[tuple[str, str], list[float]]:
    found = defaultdict(list)
    for fields in good:
        if fields["metric_name"] == metric and fate(list(fields.values())) == "stored":
            found[fields["Hostname"], fields["gpu_id"]].append(float(fields["value"]))
    return found


def test_the_fleet_tells_its_stories(good: list[dict[str, str]]) -> None:
    for values in series(good, "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION").values():
        assert values == sorted(values)
    xids = series(good, "DCGM_FI_DEV_XID_ERRORS")
    assert [place for place, values in xids.items() if 79 in values] == [("heron-03", "0")]
    used, util = series(good, "DCGM_FI_DEV_FB_USED"), series(good, "DCGM_FI_DEV_GPU_UTIL")
    assert [place for place in util if max(util[place]) == 0 and min(used[place]) > 1_000] == [("heron-01", "1")]
    last = {fields["Hostname"]: fields["timestamp"] for fields in good}
    assert last["heron-04"] < min(time for host, time in last.items() if host != "heron-04")
    assert {fields["modelName"].split()[1][:4] for fields in good} == {"H100", "A100"}


def test_pods_come_and_go_on_one_gpu(good: list[dict[str, str]]) -> None:
    pods = defaultdict(set)
    for fields in good:
        pods[fields["Hostname"], fields["gpu_id"]].add(fields["pod"])
    assert max(map(len, pods.values())) >= 4


def test_power_follows_the_load(good: list[dict[str, str]]) -> None:
    load, power = series(good, "DCGM_FI_DEV_GPU_UTIL"), series(good, "DCGM_FI_DEV_POWER_USAGE")
    idle = [place for place, values in load.items() if not any(values)]
    busy = [place for place, values in load.items() if all(values)]
    assert idle
    assert busy
    assert min(min(power[place]) for place in busy) > 2 * max(max(power[place]) for place in idle)
