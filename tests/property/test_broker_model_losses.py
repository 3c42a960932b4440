"""The queue's model with what comes from outside: a server that forgets everything, entries and capacities set by hand,
dead letters that a person replays.

What lives here: these steps. The others are in `test_broker_model`.
"""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from telemetry.broker import TopicFull
from telemetry.broker.deadletters import letter_of
from telemetry.broker.keys import BODY, ID, ROWS
from telemetry.broker.leases import Claimed
from telemetry.broker.message import text
from tests.fixtures.servers_redis import Server
from tests.property.test_broker_model import CAPACITY, Queue, every_id, names, run_model, which


class Troubled(Queue):
    """The same steps, and these."""

    @rule()
    def lose_everything(self) -> None:
        """FLUSHALL, or a server that came back empty; consumers join anew when they are told that the group is gone."""
        self.ghosts += [one.message for one in self.flight.values()]
        for key in self.client.scan_iter(f"{self.topic.keys.stream}*"):
            self.client.delete(key)
        self.forget()
        self.capacity = CAPACITY
        for one in self.leases.values():
            one.join()

    @precondition(lambda self: self.ghosts)
    @rule(nth=which, name=names, spent=st.booleans())
    def meet_a_ghost(self, nth: int, name: str, spent: bool) -> None:
        """What is done with a message that the server has forgotten changes nothing."""
        ghost = self.ghosts.pop(nth % len(self.ghosts))
        if ghost.entry in self.flight or ghost.entry in self.waiting:
            return  # a new entry got the same name in the same millisecond
        assert self.leases[name].release([ghost], spent=spent) == 0
        assert self.leases[name].keep([ghost.entry]) == [ghost.entry]
        assert self.leases[name].attempt(Claimed(ghost.entry, 1)) is None
        assert self.leases[name].settle([ghost]) == 0

    @precondition(lambda self: self.depth < CAPACITY)
    @rule(n=st.integers(0, 9))
    def copy(self, n: int) -> None:
        """An entry that no producer made; it may have the id of another."""
        entry = self.client.xadd(self.topic.keys.stream, {ID: every_id[n], ROWS: "0", BODY: "x"})
        self.waiting[text(entry)] = every_id[n]
        self.by_hand += 1

    @rule(capacity=st.none() | st.integers(1, CAPACITY))
    def set_capacity(self, capacity: int | None) -> None:
        """By a person, who may give it back to the producers."""
        self.topic.set_capacity(capacity)
        self.capacity = capacity or CAPACITY

    @precondition(lambda self: self.flight)
    @rule(nth=which, name=names, crash=st.booleans())
    def bury(self, nth: int, name: str, crash: bool) -> None:
        """A letter is kept, then the message is settled; who dies in between leaves it to the next, for one letter."""
        message = self.flight[self.entry(nth)].message
        letter = letter_of(message, "a test's", stream=self.topic.keys.stream)
        self.topic.dead_letters.bury(letter)
        self.letters[letter.origin] = message.id
        if not crash:
            self.settled(name, message, dead=True)

    @precondition(lambda self: self.letters)
    @rule(nth=which, drop=st.booleans())
    def decide(self, nth: int, drop: bool) -> None:
        """A person replays a letter, or drops it."""
        letters = self.topic.dead_letters
        letter = letters.list()[nth % len(self.letters)]
        assert self.letters[letter.origin] == letter.id
        if drop:
            assert letters.drop(letter.entry)
        elif letter.id not in self.known and self.depth >= self.capacity:
            with pytest.raises(TopicFull):
                letters.replay(letter.entry)
            return
        else:
            letters.replay(letter.entry)
            if letter.id not in self.known:
                self.queued(letter.id)
        del self.letters[letter.origin]


@pytest.mark.timeout(600)  # a failure is made as short as it can be
def test_a_queue_behaves_as_its_model_whatever_is_lost_or_set_by_hand(redis_server: Server) -> None:
    run_model(Troubled, redis_server, 8)
