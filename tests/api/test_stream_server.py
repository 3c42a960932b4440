"""Live streams over sockets: several workers, clients that come and go, one that is slow, and the end of the server."""

import random
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np
import pytest

from tests.fixtures.api import Serve, fetch
from tests.fixtures.ledger import Store, a_block
from tests.fixtures.listening import Client
from tests.fixtures.settling import write_in_disorder
from tests.fixtures.wait import until

Start = Callable[..., Serve]
BLOCKS = 60
COUNT = 2 * BLOCKS
"""Readings."""


def hop(client: Client, url: str, dice: random.Random, over: threading.Event) -> list[float]:
    """Go away at any moment, and go on from there, at whatever worker takes the connection; what was heard."""
    heard: list[float] = []
    while not over.is_set():
        over.wait(dice.uniform(0, 0.4))
        heard += client.leave().values
        client = Client(url, last=client.id).ready()
    return heard + finish(client.leave(), url, COUNT - len(heard))


def finish(client: Client, url: str, missing: int) -> list[float]:
    """What is left to hear for one who goes on from there, with nobody writing any more; then nothing comes."""
    heard = client.values
    if missing > len(heard):
        client = Client(url, last=client.id)
        client.hears(missing - len(heard))
        heard = heard + client.leave().values
    return heard + Client(url, last=client.id, max_seconds=1).ends().values


def accepted(client: Client) -> Client | None:
    """The client, if it may listen."""
    if client.status == 200:
        return client.ready()
    client.leave()
    return None


@pytest.mark.usefixtures("settle")
def test_clients_that_come_and_go_between_workers_hear_each_reading_once(serve: Start, store: Store) -> None:
    served, over = serve(store.database.reader, workers=2, threads=1), threading.Event()
    store.reserve(*[2] * BLOCKS)
    numbers = random.Random(5).sample(range(BLOCKS), BLOCKS)
    steady, *leaving = (Client(served.url).ready() for _ in range(3))  # all before the first is written
    with ThreadPoolExecutor(6) as pool:
        hopping: list[Future[list[float]]] = [
            pool.submit(hop, client, served.url, random.Random(n), over) for n, client in enumerate(leaving)
        ]
        writing = [pool.submit(write_in_disorder, store, numbers[n::3], random.Random(n)) for n in range(3)]
        wait(writing)
        over.set()
    assert [future.result() for future in writing] == [None] * 3
    assert sorted(steady.hears(COUNT)) == list(range(COUNT))
    for future in hopping:
        assert sorted(future.result()) == list(range(COUNT))


def test_streams_take_nobodys_place_and_keep_to_their_own(serve: Start, store: Store) -> None:
    served = serve(store.database.reader, threads=1, streams=3, stream_held=4_000)
    slow, other = Client(served.url, buffer=4_096).ready(), Client(served.url).ready()
    third = Client(served.url).ready()
    refused = Client(served.url)
    assert (refused.status, refused.response.headers["Retry-After"]) == (503, "5")
    for path in ("/api/v1/gpus", "/readyz", "/metrics"):
        assert fetch(f"{served.url}{path}").status == 200
    third.leave()
    again = until(lambda: accepted(Client(served.url)), "a place")
    assert again is not None

    slow.taking.clear()
    rows, blocks = 4_000, 6
    store.reserve(*[rows] * blocks)
    for number in range(blocks):
        store.stored(a_block(first_row=number * rows, rows=rows))
        for client in (other, again):  # nobody else is to be the slow one
            client.hears((number + 1) * rows)
    assert np.array_equal(np.sort(other.values), np.arange(blocks * rows))
    until(lambda: "a listener is dropped" in served.process.stderr, "the end of the slow one")
    slow.taking.set()
    assert len(slow.ends().values) < blocks * rows
    rest = Client(served.url, last=slow.id, max_seconds=60)
    rest.hears(blocks * rows - len(slow.values))
    assert sorted(slow.values + rest.values) == list(range(blocks * rows))

    served.process.signal(signal.SIGTERM)
    for client in (other, again, rest):
        assert client.ends().told("end") == [{"reason": "the server ends; connect again"}]
    assert served.process.wait() == 0
    assert "Traceback" not in served.process.stderr
