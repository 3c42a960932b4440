"""The file as a whole: what is no source, what changed, how it is indexed, and that memory stays flat."""

import bz2
import gzip
import hashlib
import lzma
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from telemetry.streamer.errors import SourceChanged, SourceError
from telemetry.streamer.sources.csvfile import CsvSource
from telemetry.streamer.sources.index import FIRST_STEP, MAX_MARKS, build
from telemetry.streamer.sources.records import MAX_RECORD
from tests.fixtures.exports import NAMES, export, quoted, row, source_of

GOOD = export(row(), row())
HEADER = ",".join(NAMES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; a CSV export with a header line is needed"),
        (b"\xef\xbb\xbf", "is empty; a CSV export with a header line is needed"),
        (b"\n\n", "the first line is no CSV header in UTF-8; a comma-separated DCGM export is needed"),
        (export(), "holds a header and no rows; name an export with readings"),
        (export()[:-1], "holds a header and no rows; name an export with readings"),
        (export() + b"\n\r\n\n", "holds a header and no rows; name an export with readings"),
        (GOOD.decode().encode("utf-16"), "is UTF-16; convert it with iconv -f UTF-16 -t UTF-8"),
        (GOOD.decode().encode("utf-16-le"), "holds NUL bytes and is no UTF-8 text; export it again as CSV in UTF-8"),
        (gzip.compress(GOOD), "is compressed; unpack it with gunzip -k"),
        (b"PK\x03\x04...", "is a zip archive; unpack it with unzip"),
        (GOOD.replace(b"\n", b"\r"), r"has lines that end in CR alone; convert it with tr '\r' '\n'"),
        (b"\xff" + GOOD, "the first line is no CSV header in UTF-8; a comma-separated DCGM export is needed"),
        (b"a" * MAX_RECORD, f"has a first line longer than {MAX_RECORD} bytes"),
        (bz2.compress(GOOD), "is compressed; unpack it with bunzip2 -k"),
        (lzma.compress(GOOD), "is compressed; unpack it with unxz -k"),
        (b"PAR1....", "is a Parquet file; export it as CSV"),
        (f"a\1,{HEADER}\n".encode(), "with control characters"),
        (b"\x1b[31mred,a\xc2\x85b,c\x0bd\n1,2,3\n", "with control characters"),
        (f'{HEADER},"of two\nlines"\n'.encode(), "the header's quotes do not match; a header of one line is needed"),
        (f"{HEADER},{','.join([f'column{i}' for i in range(600)] * 2)}\n".encode(), "more than once; rename one"),
        (f"{'a' * 1025},{HEADER}\n".encode(), "the header has a name of more than 1024 characters"),
        (GOOD.replace(b",", b";"), "the header has no column metric_name, value, gpu_id, uuid (or hostname); it has: "),
        (GOOD.replace(b"gpu_id", b"number"), "the header has no column gpu_id; it has: timestamp, metric_name, number"),
        (b"value,gpu_id,uuid\n1,2,3\n", "the header has no column metric_name; it has: value, gpu_id, uuid. A comma"),
        (b"metric,value,gpu_id,pod\n", "the header has no column uuid (or hostname)"),
        (f"{HEADER},Value\n".encode(), "the header names value more than once; rename one of them"),
        (f"{HEADER},hostname, uuid\n".encode(), "the header names hostname, uuid more than once; rename one of them"),
    ],
)
def test_a_file_that_is_no_export_is_refused_with_the_remedy(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "export.csv"
    path.write_bytes(content)
    source = CsvSource(path=path, times=False)
    with pytest.raises(SourceError) as error:
        source.open()
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert len(str(error.value)) < 800
    assert str(error.value).isprintable()


def test_times_are_asked_for_only_when_they_are_wanted() -> None:
    content = b"metric,value,gpu_id,uuid\nm,1,0,GPU-1\n"
    with source_of(content) as source:
        assert source.length == 1
    with pytest.raises(SourceError, match=r"no column timestamp \(or use --time now\)"), source_of(content, times=True):
        pass


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "No such file or directory; name a CSV export that can be read"),
        (Path.mkdir, "is no regular file; name a CSV export on a disk"),
        (os.mkfifo, "is no regular file; name a CSV export on a disk"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links; name a CSV export that can be read"),
    ],
)
def test_what_is_no_file_is_refused_with_the_remedy(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "export.csv"
    make(path)
    with pytest.raises(SourceError) as error:
        CsvSource(path=path, times=False).open()
    assert str(error.value) == f"{path}: {message}"


def test_a_file_without_permission_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_bytes(GOOD)
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # whom no permission stops
        os.seteuid(65_534)
    try:
        with pytest.raises(SourceError) as error:
            CsvSource(path=path, times=False).open()
    finally:
        os.seteuid(user)
    assert str(error.value) == f"{path}: Permission denied; name a CSV export that can be read"


def test_nul_bytes_below_the_header_are_a_matter_of_their_row() -> None:
    with source_of(export(row(), row(pod="\0"), row())) as source:
        assert [item.row for item in source.block("s", 0, 3, 0).rejected] == [1]


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(quoted(row()) + b"\n")


def _overwrite(path: Path) -> None:
    status = path.stat()
    with path.open("r+b") as file:
        file.write(b"X")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def _replace(path: Path) -> None:
    status = path.stat()
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize(
    "change", [_append, _overwrite, _replace, Path.unlink, lambda path: os.truncate(path, len(GOOD) - 40)]
)
@pytest.mark.parametrize("read", [lambda s: s.block("s", 0, 2, 0), lambda s: s.raw(0, 2, 1000)])
def test_a_file_that_changes_while_it_is_read_stops_the_reading(
    change: Callable[[Path], object], read: Callable[[CsvSource], object]
) -> None:
    with source_of(GOOD) as source:
        read(source)
        change(source.path)
        with pytest.raises(SourceChanged) as error:
            read(source)
    assert str(error.value).startswith(f"{source.path}: ")


def test_a_file_that_changes_while_it_is_hashed_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_bytes(GOOD)
    with pytest.raises(SourceChanged, match="changed while it was read"):
        CsvSource(path=path, times=False).open(lambda done, total: _append(path))


def test_a_source_can_be_closed_twice_and_before_it_is_opened(tmp_path: Path) -> None:
    source = CsvSource(path=tmp_path / "none", times=False)
    source.close()
    source.close()


def test_the_digest_is_that_of_all_bytes() -> None:
    content = export(row(), b"x" * 5_000_000, b'"', row()) + b"\n\n\n"
    with source_of(content) as source:
        assert source.digest == hashlib.sha256(content).hexdigest()


def test_progress_ends_at_the_size_of_the_file(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    (tmp_path / "a").write_bytes(GOOD)
    CsvSource(path=tmp_path / "a", times=False).open(lambda done, total: seen.append((done, total))).close()
    assert seen[-1] == (len(GOOD), len(GOOD))


def test_a_dead_letter_keeps_header_and_raw_rows_within_its_limit() -> None:
    bad = b'"stray'
    with source_of(b"\xef\xbb\xbf" + export(row(), bad, b"", row())) as source:
        assert source.raw(1, 2, 10_000) == b"\n".join([HEADER.encode(), bad, quoted(row())])
        assert source.raw(2, 2, 10_000) == b"\n".join([HEADER.encode(), quoted(row()), quoted(row())])
        assert source.raw(0, 3, 50) == HEADER.encode()[:50]


def test_a_dead_letter_of_a_giant_row_is_the_same_wherever_reading_began() -> None:
    giant = b"g" * (3 * MAX_RECORD)
    with source_of(export(*[row()] * 500, giant, *[row()] * 9000)) as source:
        far, near = source.raw(0, 501, 10**7), source.raw(500, 1, 10**7)
    assert far.endswith(b"\n" + giant[: MAX_RECORD + 1])
    assert near.endswith(b"\n" + giant[: MAX_RECORD + 1])


class Made:
    """A file of `count` short rows `0000000000`, `0000000001` .. that exists only where it is read."""

    WIDTH = 11

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self, offset: int, size: int) -> bytes:
        first, last = offset // self.WIDTH, min((offset + size) // self.WIDTH + 1, self.count)
        digits = np.arange(first, max(first, last))[:, None] // 10 ** np.arange(9, -1, -1) % 10
        lines = np.concatenate([digits + ord("0"), np.full((len(digits), 1), ord("\n"))], axis=1).astype(np.uint8)
        return lines.tobytes()[offset - first * self.WIDTH :][:size]


@pytest.mark.parametrize("count", [1, FIRST_STEP, FIRST_STEP + 1, FIRST_STEP * MAX_MARKS // 8])
def test_marks_point_at_the_records_they_name(count: int) -> None:
    index = build(Made(count), 0, 1)
    assert (index.records, index.size, index.step) == (count, count * Made.WIDTH, FIRST_STEP)
    assert (index.marks == np.arange(0, count, index.step) * Made.WIDTH).all()


@pytest.mark.slow
def test_marks_are_thinned_and_still_point_at_their_records() -> None:
    count = FIRST_STEP * MAX_MARKS * 5 // 2
    index = build(Made(count), 0, 1)
    assert (index.records, index.step) == (count, FIRST_STEP * 4)
    assert len(index.marks) <= MAX_MARKS
    assert (index.marks == np.arange(0, count, index.step) * Made.WIDTH).all()
    for record in (0, 1, index.step - 1, index.step, count // 3, count - 1):
        offset, number = index.before(record)
        assert 0 <= record - number < index.step
        assert int(Made(count)(offset, 10)) == number
