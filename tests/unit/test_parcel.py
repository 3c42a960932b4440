"""Messages of any making: decoded, or refused with a sentence, and storable as a dead letter whatever is in them."""

import pytest

from telemetry.block import Block, BlockError
from telemetry.broker import DeadLetter, Message
from telemetry.collector.parcel import LONGEST, dead_id_of, letter_of, unpack
from tests.fixtures.ledger import a_block


def message(body: bytes, *, id: str = "s:0", rows: int = 4, headers: dict[str, str] | None = None) -> Message:
    found = {"format": "block/1"} if headers is None else headers
    return Message(id=id, body=body, rows=rows, headers=found, entry="1-0", attempts=1, fields={})


def dead(**fields: object) -> DeadLetter:
    values = {"id": "s:0", "body": b"x", "rows": 4, "headers": {"format": "block/1"}, "reason": "r", "attempts": 2}
    return DeadLetter(**{**values, "origin": "t@1-0", "time": 0.0, **fields})  # type: ignore[arg-type]  # any fields


def test_a_message_is_unpacked() -> None:
    block = a_block()
    parcel = unpack(message(block.encode()), 10_000)
    assert isinstance(parcel.block, Block)
    assert (parcel.block.id, parcel.block.rows, parcel.dead_id) == ("s:0", 4, None)
    assert parcel.message.entry == "1-0"


def test_a_body_may_be_as_large_as_the_limit_and_no_larger() -> None:
    body = a_block().encode()
    unpack(message(body), len(body))
    with pytest.raises(BlockError, match=f"{len(body)} bytes, more than {len(body) - 1}"):
        unpack(message(body), len(body) - 1)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"body": b"\xff"}, "not JSON"),
        ({"body": b"[]"}, "not a JSON object"),
        ({"body": b"{}"}, "missing"),
        ({"id": ""}, "not source:first_row"),
        ({"id": "s"}, "not source:first_row"),
        ({"id": "s:01"}, "not source:first_row"),
        ({"id": "s\0:0"}, "not source:first_row"),
        ({"rows": 3}, "rows is 3"),
        ({"headers": {}}, "format is ''"),
        ({"headers": {"format": "block/2"}}, "format is 'block/2'"),
    ],
)
def test_what_is_no_block_is_refused_with_a_sentence(fields: dict[str, object], why: str) -> None:
    values = {"body": a_block().encode(), **fields}
    with pytest.raises(BlockError, match=why):
        unpack(message(**values), 10_000)  # type: ignore[arg-type]  # any fields


@pytest.mark.parametrize(
    ("text", "number"),
    [("7", 7), ("0", 0), ("", None), ("-1", None), ("1.5", None), ("x", None), ("٣", None), ("9" * 19, None)],
)
def test_a_replay_names_its_dead_block_by_a_plain_number(text: str, number: int | None) -> None:
    assert dead_id_of({"dead": text}) == number
    assert dead_id_of({}) is None
    assert dead_id_of(None) is None


def test_a_letter_names_the_ledger_row_that_its_id_means() -> None:
    letter = letter_of(dead(id="name@abc:once:now:5000"))
    assert (letter.source, letter.first_row, letter.rows, letter.format) == ("name@abc:once:now", 5000, 4, "block/1")
    assert (letter.origin, letter.payload, letter.attempts, letter.reason) == ("t@1-0", b"x", 2, "r")


@pytest.mark.parametrize("id", ["", "s", "s:", ":0", "s:x", "s:00", "s\0:0", "é" * LONGEST + ":0", "s:-1"])
def test_a_letter_of_a_foreign_id_names_none(id: str) -> None:
    letter = letter_of(dead(id=id))
    assert (letter.source, letter.first_row) == (None, None)
    assert len(letter.message_id) <= LONGEST
    assert "\0" not in letter.message_id


@pytest.mark.parametrize("rows", [-1, 1_000_001, 10**15])
def test_a_letter_of_an_impossible_size_stands_for_no_rows(rows: int) -> None:
    assert letter_of(dead(rows=rows)).rows == 0


def test_a_letters_texts_can_be_stored_whatever_they_are() -> None:
    letter = letter_of(dead(reason="\0" * 5_000, headers={"format": "\0x"}, origin="\0" * 500 + "@12-7"))
    assert "\0" not in letter.reason + letter.format + letter.origin
    assert len(letter.reason) == LONGEST
    assert letter.origin.endswith("@12-7")
