"""Looks for scrapes: one at a time, however long it takes, and none that is told for younger than it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tests.fixtures.wait import PATIENCE, until
from webapi.scraped.glance import Glance


class Looks:
    """Finds the number of the look, once it is let go."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self) -> int:
        self.threads.append(threading.current_thread())
        assert self.go.wait(PATIENCE)
        return len(self.threads)


@pytest.fixture
def no_threads() -> Iterator[None]:
    """No thread can be started: there is no address space with so much room for its stack."""
    before = threading.stack_size(1 << 47)
    yield
    threading.stack_size(before)


def test_what_was_found_is_good_for_a_while() -> None:
    glance = Glance("queue", looks := Looks(), patience=PATIENCE, keep=PATIENCE)
    assert [glance.ask()() for _ in range(3)] == [1, 1, 1]
    assert len(looks.threads) == 1


def test_what_hangs_costs_one_thread_and_what_it_finds_at_last_is_no_younger_than_its_beginning() -> None:
    glance, began = Glance("queue", looks := Looks(), patience=0.0, keep=0.3), time.monotonic()
    looks.go.clear()
    assert [glance.ask()() for _ in range(5)] == [None] * 5
    until(lambda: len(looks.threads) == 1 and time.monotonic() > began + 1, "a look that is too old")
    looks.go.set()
    looks.threads[0].join(PATIENCE)
    until(lambda: glance.ask()() or len(looks.threads) > 1, "another look")
    assert len(looks.threads) > 1


def test_a_look_for_which_there_was_no_thread_is_begun_by_the_next_who_asks(no_threads: None) -> None:
    glance = Glance("queue", looks := Looks(), patience=PATIENCE)
    assert glance.ask()() is None
    threading.stack_size(0)
    assert glance.ask()() == 1
    assert len(looks.threads) == 1
