"""gzip: who gets it, that it is the same answer, and that a broken one looks broken."""

import gzip
import zlib
from collections.abc import Iterator

import pytest
from flask import Response
from werkzeug.test import TestResponse

from tests.fixtures.api import Api
from tests.fixtures.filled import TEMP
from webapi.bodies.compress import LEAST

ONE = "/gpus/GPU-node-0-0/telemetry"


def get(api: Api, path: str, encodings: str | None, method: str = "GET") -> TestResponse:
    headers = {} if encodings is None else {"Accept-Encoding": encodings}
    return api.client.open(path, method=method, headers=headers)


@pytest.mark.parametrize(
    ("encodings", "packed"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("x-gzip", True),
        ("*", True),
        ("br, GZIP;q=0.1", True),
        ("gzip, deflate, br, zstd", True),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
        ("identity, gzip;q=0.5", False),
        ("deflate, br", False),
    ],
)
def test_an_answer_is_packed_for_who_takes_it(fleet_api: Api, encodings: str | None, packed: bool) -> None:
    for kind in ("json", "csv", "ndjson"):
        plain = fleet_api.get(ONE, format=kind)
        answer = get(fleet_api, f"/api/v1{ONE}?format={kind}", encodings)
        assert answer.headers.get("Content-Encoding") == ("gzip" if packed else None)
        assert (gzip.decompress(answer.data) if packed else answer.data) == plain.data
        assert set(answer.headers["Vary"].split(", ")) == {"Accept", "Accept-Encoding"}
        assert answer.content_type == plain.content_type
        assert answer.headers.get("Content-Length") in (None, str(len(answer.data)))


def test_a_small_answer_is_sent_as_it_is(fleet_api: Api) -> None:
    answer = get(fleet_api, f"/api/v1{ONE}?limit=2&metric={TEMP}", "gzip")
    assert ("Content-Encoding" in answer.headers, len(answer.data) < LEAST) == (False, True)
    assert "Accept-Encoding" in answer.headers["Vary"]
    assert "Link" in answer.headers


def test_whatever_is_text_is_packed_and_files_are_not(alone: Api) -> None:
    for path, packed in (("/openapi.json", True), ("/metrics", True), ("/swagger/assets/swagger-ui.css", False)):
        with get(alone, path, "gzip") as answer:
            assert (answer.headers.get("Content-Encoding") == "gzip") == packed, path


def test_the_same_answer_is_packed_into_the_same_bytes(fleet_api: Api) -> None:
    path = f"/api/v1{ONE}?format=csv"
    assert get(fleet_api, path, "gzip").data == get(fleet_api, path, "gzip").data


def test_the_headers_alone_are_those_of_the_answer(fleet_api: Api) -> None:
    for kind in ("json", "csv"):
        answer, head = (get(fleet_api, f"/api/v1{ONE}?format={kind}", "gzip", method) for method in ("GET", "HEAD"))
        changing = {"X-Request-ID"}
        assert {name: value for name, value in head.headers.items() if name not in changing} == {
            name: value for name, value in answer.headers.items() if name not in changing
        }
        assert head.data == b""


@pytest.fixture
def parts(alone: Api) -> list[bytes | Exception]:
    """What /parts sends, one after the other; an error is raised."""
    to_send: list[bytes | Exception] = []

    def sent() -> Iterator[bytes]:
        for part in to_send:
            if isinstance(part, Exception):
                raise part
            yield part

    alone.client.application.add_url_rule("/parts", view_func=lambda: Response(sent(), content_type="text/csv"))
    return to_send


def test_an_answer_that_is_broken_off_has_no_end(alone: Api, parts: list[bytes | Exception]) -> None:
    parts += [b"begun\n", b"x" * 100_000, ConnectionResetError("gone")]
    with get(alone, "/parts", "gzip") as answer:
        sent: list[bytes] = []
        with pytest.raises(ConnectionResetError):
            sent.extend(answer.iter_encoded())
    unpacked = zlib.decompressobj(wbits=31)
    assert unpacked.decompress(b"".join(sent)) == b"begun\n" + b"x" * 100_000
    assert not unpacked.eof


def test_parts_go_out_as_they_come_but_small_ones_together(alone: Api, parts: list[bytes | Exception]) -> None:
    parts += [b"%d\n" % number * 10 for number in range(20_000)]
    with get(alone, "/parts", "gzip") as answer:
        sent = list(answer.iter_encoded())
    assert gzip.decompress(b"".join(sent)) == b"".join(part for part in parts if isinstance(part, bytes))
    assert 5 < len(sent) < 100
    assert all(sent)
