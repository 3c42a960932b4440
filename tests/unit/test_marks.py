"""Marks in the order of commits: what they show, together and alone, and their texts."""

import base64
from dataclasses import replace

import orjson
import pytest

from telemetry.store.questions.marks import CLOCK, LATE, Mark, NoPlace, Place, Snapshot

T = 1_752_871_354_000_000
SECOND = 1_000_000


def look(text: str, next: int, seconds: int = 0, timeline: int = 1) -> Snapshot:
    return Snapshot.of(text, next, T + seconds * SECOND, timeline)


def shown(mark: Mark, most: int = 40) -> list[int]:
    return [one for one in range(most) if mark.shows(one)]


def test_a_mark_shows_what_had_ended_and_no_number_beyond_the_last_one_seen() -> None:
    mark = Mark.at(look("8:10:8", 12), last=9)
    assert shown(mark) == [*range(8), 9]
    later = mark.after(look("20:25:20,22", 27), last=14)
    assert shown(later) == list(range(15))
    assert later.snapshot == "15:15:"
    assert shown(later.after(look("20:31:20,29", 31), last=23)) == [*range(20), 21, 22, 23]


def test_who_begins_sees_no_number_beyond_the_last_one_that_stored_a_block() -> None:
    mark = Mark.at(look("8:10:8", 12), last=6)
    assert shown(mark) == list(range(7))  # 7 and 9 came to nothing: a server that crashes may give them again
    assert shown(mark.after(look("12:12:", 12), last=8)) == list(range(9))
    assert shown(Mark.at(look("8:10:8", 12), last=0)) == [0]


@pytest.mark.parametrize(
    ("pruned", "to", "missed"),
    [(4, 0, False), (8, 0, True), (8, -2, True), (8, -3, False), (8, -604_800, False), (0, None, False)],
)
def test_blocks_are_missed_by_pruning_only_if_it_went_on_and_took_some_that_may_be_new(
    pruned: int, to: int | None, missed: bool
) -> None:
    mark = Mark.at(replace(look("10:10:", 10), pruned=4), last=9)
    pruned_to = None if to is None else T + to * SECOND
    assert mark.missed(replace(look("12:12:", 12, 1), pruned=pruned, pruned_to=pruned_to)) is missed
    resumed = Place.parse(Place(mark).text).seen
    assert resumed.missed(replace(look("12:12:", 12, 1), pruned=4, pruned_to=pruned_to)) is (
        to is not None and to >= -2
    )


@pytest.mark.parametrize(
    ("upto", "running", "missed"),
    [
        (9, "8", False),  # of those below its end it does not show 8, which is still under way
        (9, "", True),  # 8 has ended, and may have settled one of them
        (7, "", False),
        (10, "8", True),
        (None, "8", True),
    ],
)
def test_blocks_that_it_shows_are_not_missed_however_late_they_were_settled(
    upto: int | None, running: str, missed: bool
) -> None:
    mark = Mark.at(look("8:10:8", 12), last=9)
    now = replace(look(f"8:14:{running}", 14, 1), pruned=4, pruned_to=T, pruned_upto=upto)
    assert mark.missed(now) is missed
    assert Place.parse(Place(mark).text).seen.missed(now) is missed


def test_it_knows_from_when_on_the_blocks_of_others_were_settled() -> None:
    mark = Mark.at(look("8:10:8", 12), last=9)
    assert mark.began(8) == mark.began(11) == T - LATE - CLOCK
    assert mark.began(12) == mark.news == T - CLOCK
    later = mark.after(look("11:20:11,15", 21, 5), last=14)
    assert [later.began(one) for one in (11, 15, 20, 21)] == [
        T - LATE - CLOCK,
        T - CLOCK,
        T - CLOCK,
        T + 5 * SECOND - CLOCK,
    ]
    assert later.since == T - LATE - CLOCK
    assert later.late(look("11:21:11,15", 25, 6)) == T - CLOCK  # 20 ended, which was not listed
    assert later.late(look("15:21:15", 25, 6)) == T - LATE - CLOCK
    assert later.late(look("11:20:11,15", 25, 6)) is None


def test_of_many_looks_at_a_long_transaction_few_are_kept_and_none_says_too_much() -> None:
    mark, began = Mark.at(look("8:8:", 8), last=7), {}
    for number in range(9, 1_000):
        mark = mark.after(look(f"8:{number}:8", number + 1, number), last=0)
        began[number + 1] = T + number * SECOND - CLOCK  # nothing from there on had begun then
    assert len(mark.ways) < 70
    assert mark.began(8) == T - CLOCK
    assert all(mark.began(number) <= at for number, at in began.items())
    assert mark.began(1_000) == began[1_000]


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("8:10:8", "8:10:8", [*range(8), 9]),
        ("8:10:8", "9:12:9", [*range(9), 9, 10, 11]),
        ("8:20:8,15", "8:12:8", [*range(8), *range(9, 15), *range(16, 20)]),
        ("8:8:", "8:20:8,9", [*range(8), *range(10, 20)]),
    ],
)
def test_who_has_seen_what_two_marks_show_has_seen_both(one: str, other: str, both: list[int]) -> None:
    marks = [Mark.at(now, now.end - 1) for now in (look(one, 20), look(other, 20, 1))]
    assert shown(marks[0].with_all_of(marks[1])) == shown(marks[1].with_all_of(marks[0])) == both


def test_a_replica_shows_only_what_is_older_than_all_that_may_be_under_way() -> None:
    mark = Mark.at(look("8:12:", 14, timeline=0), last=7)
    assert shown(mark) == list(range(8))
    assert shown(mark.after(look("11:15:", 15, 1, timeline=0), last=9)) == list(range(10))


def test_a_place_says_the_same_after_it_was_written_down() -> None:
    mark = Mark.at(look("8:12:8,10", 14), last=11)
    later = mark.after(look("10:20:10,13,19", 21, 3), last=16)
    for place in (Place(mark), Place(later), Place(mark, later, 7, 250)):
        found = Place.parse(place.text)
        assert (shown(found.seen), found.seen.since) == (shown(place.seen), place.seen.since)
        assert (found.block, found.row, found.text) == (place.block, place.row, place.text)
        assert found.upto is None or shown(found.upto) == shown(later)


def test_a_place_is_short_enough_for_a_header_with_hundreds_of_transactions_under_way() -> None:
    running = ",".join(map(str, range(10**12, 10**12 + 900, 3)))
    mark = Mark.at(look(f"{10**12}:{10**12 + 1_000}:{running}", 10**12 + 1_000), last=10**12 + 999)
    text = Place(mark, mark, 2**40, 5).text
    assert len(text) < 4_096
    assert Place.parse(text).text == text


GOOD = [[T, 2_000_000, 100, 1, 4]]


@pytest.mark.parametrize(
    "value",
    [
        None, {}, [], [[]], [1], [["a", 1, 1, 1]], [[T, 1, 100]], [[T, -1, 100, 1]], [[T, T + 1, 100, 1]],
        [[2**62, 1, 100, 1]], [[T, 1, 100, 1, 100]], [[T, 1, 100, 1, 0]], [[T, 1, 100, 1.5]], [[True, 1, 100, 1]],
        [*GOOD, *GOOD], [*GOOD, *GOOD, 1], [*GOOD, *GOOD, -1, 0], [*GOOD, *GOOD, 2**63, 0], [*GOOD, *GOOD, "1", 0],
        [*GOOD, *GOOD, 1, 1, 1], [*GOOD, 1, 1, 1],
    ],
)  # fmt: skip
def test_what_is_no_place_is_told_so(value: object) -> None:
    Place.parse(base64.urlsafe_b64encode(orjson.dumps(GOOD)).decode().rstrip("="))
    with pytest.raises(NoPlace):
        Place.parse(base64.urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("="))


@pytest.mark.parametrize("text", ["", "x", "é", "[[1]]", "W1tdXQ" * 2_000, "W1sxXV0=\n", "A" * 5_000])
def test_a_text_that_cannot_be_read_is_no_place(text: str) -> None:
    with pytest.raises(NoPlace):
        Place.parse(text)
