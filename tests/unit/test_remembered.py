"""What is remembered: made once, bounded by bytes, whatever comes."""

import random

import pytest

from telemetry.remembered import Remembered


class Maker:
    """Turns a text into its letters, and counts."""

    def __init__(self, most_bytes: int) -> None:
        self.made: list[str] = []
        self.known = Remembered(self._make, most_bytes=most_bytes, weigh=len)

    def _make(self, key: str) -> list[str]:
        self.made.append(key)
        if key == "bad":
            raise ValueError(key)
        return list(key)


def test_keys_that_come_in_turns_are_made_once_while_they_have_room() -> None:
    maker = Maker(100)
    keys = [f"{number:02}" for number in range(50)]
    for _ in range(3):
        assert maker.known.each(keys) == [list(key) for key in keys]
    assert maker.made == keys


def test_what_has_no_room_is_made_again_and_right() -> None:
    maker = Maker(40)
    dice = random.Random(7)
    for _ in range(200):
        keys = [dice.choice("abcdefgh") * dice.randint(1, 50) for _ in range(5)]
        assert maker.known.each(keys) == [list(key) for key in keys]
    assert maker.known.each(["x" * 41, "x" * 41]) == [["x"] * 41] * 2
    assert maker.made[-2:] == ["x" * 41] * 2


def test_what_cannot_be_made_is_raised_each_time() -> None:
    maker = Maker(40)
    for _ in range(2):
        with pytest.raises(ValueError, match="bad"):
            maker.known.each(["good", "bad"])
    assert maker.made == ["good", "bad", "bad"]
