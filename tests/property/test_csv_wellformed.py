"""Whatever a well-formed CSV says is read as Python's csv module reads it, and labels_raw byte for byte."""

import csv
import io
import re
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from telemetry.streamer.sources.cells import Cells, numbers_of, parse_time, texts_of, times_of
from tests.fixtures.examples import tried
from tests.fixtures.exports import NAMES, POWER, block_of, row, stored, written

TEXT = st.text(st.characters(exclude_characters="\0\1", exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["", 'say "hi"', "two\nlines", "a,b", '"', '""', '"\n"', "\r\n", "\r", " x ", "é", "\ufeff", '",\n,"']
)
NAME = st.sampled_from(["__name__", "UUID", "gpu", "Hostname", "job", "pod", "GPU_I_ID", "GPU_I_PROFILE", "Z", "_"])
VALUE = TEXT | st.sampled_from([POWER, "GPU-1", "0", "host-1", "1", "1g.10gb", "\\", 'a="b"', ',__name__="x"'])


def labels_text(labels: dict[str, str]) -> str:
    escape = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
    return ",".join(f'{name}="{labels[name].translate(escape)}"' for name in sorted(labels))


LABELS = st.dictionaries(NAME, VALUE, max_size=6).map(labels_text) | TEXT
ROWS = st.lists(
    st.builds(
        row,
        metric_name=st.sampled_from([POWER, "DCGM_FI_DEV_DEC_UTIL ", "m"]),
        device=TEXT,
        uuid=st.sampled_from(["GPU-1", "GPU-2 ", "GPU-1\n"]),
        modelName=TEXT,
        Hostname=TEXT,
        pod=TEXT,
        namespace=TEXT,
        value=st.sampled_from(["1", " 2.5", "-0.125", "1e3", "81007"]),
        labels_raw=LABELS,
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=tried(50))
@given(rows=ROWS, every=st.booleans(), end=st.sampled_from(["\n", "\r\n"]))
def test_every_field_of_a_well_formed_file_arrives(rows: list[list[str]], every: bool, end: str) -> None:
    content = written(rows, every=every, line_end=end)
    block = block_of(content)
    read = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    assert block.rows == block.stored == len(read)
    for (gpu, workload, metric, value, labels), raw in zip(stored(block), read, strict=True):
        want = {name: raw[name].strip() for name in NAMES}
        assert gpu[:5] == tuple(want[name] for name in ("uuid", "gpu_id", "device", "modelName", "Hostname"))
        assert workload[:3] == (want["container"], want["pod"], want["namespace"])
        assert (metric, value) == (want["metric_name"], float(want["value"]))
        assert labels == raw["labels_raw"]


NUMBERS = st.from_regex(re.compile(r"[+-]?[0-9]*\.?[0-9]*([eE][+-]?[0-9]{1,3})?", re.ASCII), fullmatch=True) | (
    st.sampled_from(
        ["nan", "inf", "-inf", "infinity", "1e400", "1e-400", "0x10", "1_000", "٣", "", "1 2", "<<<NULL>>>"]
    )
)


@given(texts=st.lists(NUMBERS, min_size=1, max_size=6, unique=True))
def test_a_number_means_the_same_whatever_stands_beside_it(texts: list[str]) -> None:
    def read(some: list[str]) -> list[object]:
        values, blank, faults = numbers_of(Cells(np.arange(len(some), dtype=np.int32), some, {}), "value")
        return [faults.get(i) or ("blank" if blank[i] else float(values[i])) for i in range(len(some))]

    assert read(texts) == [read([text])[0] for text in texts]
    assert read([*texts, "no"])[:-1] == read(texts)
    for text, got in zip(texts, read(texts), strict=True):
        assert not isinstance(got, float) or got == float(text)


TIMES = (
    st.datetimes(min_value=datetime(1890, 1, 1), max_value=datetime(2110, 1, 1)).map(lambda t: t.isoformat() + "Z")
    | st.from_regex(re.compile(r"20[0-9]{2}-[01][0-9]-[0-3][0-9][T ]?[0-9:.,]{0,15}Z", re.ASCII), fullmatch=True)
    | st.sampled_from(
        ["2025-07-18Z", "2025-07-18T20Z", "2025-07-18T24:00:00Z", "20250718T204234Z", "2025-W29-5T01:02Z"]
    )
)


@settings(max_examples=tried(80))
@given(texts=st.lists(TIMES, min_size=1, max_size=4))
@example(texts=["2025-07-18T20:42:34.1234567Z"])
@example(texts=["2025-07-18T20:42:60Z"])
@example(texts=["2025-07-18T23:59:59,5Z"])
def test_a_time_means_the_same_whatever_stands_beside_it(texts: list[str]) -> None:
    def read(some: list[str]) -> list[object]:
        times, faults = times_of(Cells(np.arange(len(some), dtype=np.int32), some, {}))
        return [faults.get(i) or int(times[i]) for i in range(len(some))]

    assert read(texts) == read([*texts, "1752871354"])[:-1]
    for text, got in zip(texts, read(texts), strict=True):
        assert parse_time(text) == (got if isinstance(got, int) else None)


def test_a_time_to_the_microsecond_is_what_datetime_says() -> None:
    moment = datetime(2025, 7, 18, 20, 42, 34, 123456, UTC)
    assert parse_time("2025-07-18T22:42:34.123456+02:00") == round(moment.timestamp() * 1e6)


@given(raws=st.lists(st.binary(max_size=12), min_size=1, max_size=6), limit=st.integers(0, 12), trim=st.booleans())
def test_a_text_means_the_same_whatever_stands_beside_it(raws: list[bytes], limit: int, trim: bool) -> None:
    def read(some: list[bytes]) -> list[str]:
        cells = texts_of(pa.array(some, pa.binary()).dictionary_encode(), "pod", limit, trim=trim)
        return [cells.faults.get(int(code)) or f"={cells.texts[code]}" for code in cells.codes]

    assert read(raws) == [read([raw])[0] for raw in raws]
    for raw, got in zip(raws, read(raws), strict=True):
        text = raw.decode("utf-8", "replace")
        fine = len(text) <= limit and not {"\0", "\1"} & set(text) and text.encode() == raw
        assert (got == f"={text.strip() if trim else text}") == fine
