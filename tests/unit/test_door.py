"""The door before what may be away: who passes after an outage. With a real server: tests/api/test_queue.py."""

from collections.abc import Callable

import pytest

from webapi.queue.observer import Door


class Away(Exception):
    """Raised where a server is away."""


class Refused(Exception):
    """Raised where a server answers, but not as wished."""


def fail(error: Exception) -> None:
    raise error


def go(door: Door, work: Callable[[], None] = lambda: None) -> bool:
    """Whether the work was begun; its error, or the door's, is raised."""
    begun = []
    with door.open():
        begun.append(True)
        work()
    return bool(begun)


@pytest.mark.parametrize("pause", [0.0, 1_000.0])
def test_after_an_outage_the_door_stays_shut_for_its_pause(pause: float) -> None:
    door = Door(Away, pause=pause)
    assert go(door)
    with pytest.raises(Away, match="gone"):
        go(door, lambda: fail(Away("gone")))
    if pause:
        with pytest.raises(Away, match="gone"):
            go(door)
    else:
        assert go(door)


def test_while_one_tries_again_the_others_are_told_what_was_wrong_last() -> None:
    door = Door(Away)

    def others() -> None:
        with pytest.raises(Away, match="first"):
            go(door)
        fail(Away("second"))

    with pytest.raises(Away, match="first"):
        go(door, lambda: fail(Away("first")))
    with pytest.raises(Away, match="second"):
        go(door, others)
    assert go(door)


def test_a_refusal_is_a_sign_of_life() -> None:
    door = Door(Away)
    with pytest.raises(Away):
        go(door, lambda: fail(Away("gone")))
    with pytest.raises(Refused):
        go(door, lambda: fail(Refused("no")))

    def together() -> None:
        assert go(door), "nobody waits for another any more"

    assert go(door, together)
