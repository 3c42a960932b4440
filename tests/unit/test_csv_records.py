"""Where records begin and end, and that pyarrow's idea of it never gets the better of ours."""

import numpy as np
import pytest

from telemetry.streamer.sources.index import build
from telemetry.streamer.sources.records import CHUNK, MAX_RECORD, Records, scan
from telemetry.streamer.sources.slices import Slice

CHUNKS = [1 << 22, 50_000, 4_096]


def pieces(data: bytes, chunk: int, fields: int = 3) -> list[Records]:
    return [found for found in scan(lambda at, size: data[at : at + size], 0, fields, chunk) if len(found)]


def records(data: bytes, chunk: int = 1 << 22, fields: int = 3) -> list[tuple[bytes, bool]]:
    """(bytes, broken) of each."""
    return [
        (found.data[start:end], bool(broken))
        for found in pieces(data, chunk, fields)
        for start, end, broken in zip(found.starts.tolist(), found.ends.tolist(), found.broken, strict=True)
    ]


def cells(data: bytes) -> dict[int, list[bytes] | str]:
    """Record -> its fields, or why it cannot be used."""
    piece = Slice(pieces(data, 1 << 22))
    parsed = piece.parse(["a", "b", "c"], [0, 1, 2], np.arange(len(piece)))
    rows = zip(*(parsed.columns[position].to_pylist() for position in range(3)), strict=True)
    return {**dict(zip(parsed.kept.tolist(), map(list, rows), strict=True)), **parsed.bad}


UNBALANCED = "its quotes or line ends do not match"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b'a,5" disk,c\nd,e,f', {0: [b"a", b'5" disk', b"c"], 1: [b"d", b"e", b"f"]}),
        (b'5",b,c\nd,e,f\ng,h,6"', {0: [b'5"', b"b", b"c"], 1: [b"d", b"e", b"f"], 2: [b"g", b"h", b'6"']}),
        (b'"a","b"x,"c"\nd,e,f', {0: [b"a", b"bx", b"c"], 1: [b"d", b"e", b"f"]}),
        (b'"a","b"x","c"\nd,e,f\n"a","b"x","c"', {0: UNBALANCED, 1: [b"d", b"e", b"f"], 2: UNBALANCED}),
        (b'a",b,"c\nx,y,"z\nw,v,u"', {0: UNBALANCED, 1: [b"x", b"y", b"z\nw,v,u"]}),
        (b'a",b,"c', {0: UNBALANCED}),
        (b"a\rb,c,d\ne,f,g", {0: UNBALANCED, 1: [b"e", b"f", b"g"]}),
        (b'"a\rb",c,d\r\n"e\r\nf",g,h\r', {0: [b"a\rb", b"c", b"d"], 1: [b"e\r\nf", b"g", b"h"]}),
        (b'"a\n\n\nb",c,d\n\n\r\ne,f,g', {0: [b"a\n\n\nb", b"c", b"d"], 1: [b"e", b"f", b"g"]}),
        (b"\xff,b\nc,d,e", {0: "2 fields where the header has 3", 1: [b"c", b"d", b"e"]}),
        (b"a,b,c,d\nc,d,e", {0: "4 fields where the header has 3", 1: [b"c", b"d", b"e"]}),
        (b"\xef\xbb\xbfa,b,c", {0: [b"\xef\xbb\xbfa", b"b", b"c"]}),
        (b" \n\t,,\n,,", {0: "1 fields where the header has 3", 1: [b"\t", b"", b""], 2: [b"", b"", b""]}),
    ],
)  # fmt: skip
def test_records_are_found_and_read(data: bytes, found: dict[int, list[bytes] | str]) -> None:
    assert cells(data) == found
    assert cells(data + b"\n") == found


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("size", [MAX_RECORD, MAX_RECORD + 1, 2 * MAX_RECORD - 1, 2 * MAX_RECORD, 9 * MAX_RECORD])
@pytest.mark.parametrize("first", [b"", b"a,b,c\n", b'"open\n'])
def test_a_line_too_long_is_broken_and_keeps_its_beginning(chunk: int, size: int, first: bytes) -> None:
    before = [(line, line[:1] == b'"') for line in first.splitlines()]
    long = (b"x" * min(size, MAX_RECORD + 1), size > MAX_RECORD)
    found = records(first + b"x" * size + b"\nd,e,f\n", chunk)
    assert found == [*before, long, (b"d,e,f", False)]
    assert records(first + b"x" * size, chunk) == [*before, long]


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("over", [0, 1])
def test_a_record_of_many_lines_is_joined_up_to_the_longest_record(chunk: int, over: int) -> None:
    opening, closing = b'a,b,"', b'"'
    middle = b"x" * 99 + b"\n"
    body = middle * ((MAX_RECORD - 6) // 100)
    body += b"x" * (MAX_RECORD - 6 - len(body) + over)
    whole = opening + body + closing
    assert len(whole) == MAX_RECORD + over
    found = records(whole + b"\nd,e,f\n", chunk)
    assert found[-1] == (b"d,e,f", False)
    assert (found[0] == (whole, False)) is not bool(over)
    assert (found[0] == (whole.split(b"\n")[0], True)) is bool(over)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_an_open_quote_at_the_end_of_the_file_breaks_its_line_only(chunk: int) -> None:
    assert records(b'a,b,c\nd,e,"f\ng,h,i\n', chunk) == [(b"a,b,c", False), (b'd,e,"f', True), (b"g,h,i", False)]


@pytest.mark.parametrize(
    ("data", "even"),
    [
        (b'"a","b"\n\n"c ""d""","e"\r\n"f","g"', True),
        (b'a,b\n"c,d\n', False),
        (b'a,b\n"c,d\ne",f\n', False),
        (b'a,b\nc"d,e\n', False),
        (b'a,b\n"c', False),
        (b'a,b\n"' + b"x" * 2 * CHUNK + b"\nc,d\n", True),  # a record of its own, whatever it holds
    ],
)
def test_an_index_says_whether_a_line_has_an_odd_number_of_quotes(data: bytes, even: bool) -> None:
    def read(at: int, size: int) -> bytes:
        return data[at : at + size]

    assert build(read, 0, 2).even is even
    if even:
        for chunk in (1 << 16, 1 << 20):
            asked, unasked = (
                [
                    (one.starts.tolist(), one.ends.tolist(), one.broken.tolist())
                    for one in scan(read, 0, 2, chunk, even=known)
                ]
                for known in (False, True)
            )
            assert asked == unasked
