"""Live streams beside a database that crashes again and again: nothing is missed, nothing is told twice."""

import threading
from collections.abc import Callable, Iterator

import pytest

from telemetry.store.errors import StoreError
from telemetry.store.ledger import Ledger
from telemetry.store.schema import migrate
from telemetry.store.session import Session
from telemetry.store.writer import Writer
from tests.chaos.servers import DatabaseServer
from tests.fixtures.api import Api
from tests.fixtures.ledger import a_block
from tests.fixtures.listening import Ear, listen
from tests.fixtures.servers_postgres import open_folder
from tests.fixtures.wait import until

pytestmark = pytest.mark.costly

MakeApi = Callable[..., Api]
ROWS, CRASHES = 50, 4


@pytest.fixture
def server() -> Iterator[DatabaseServer]:
    one = DatabaseServer(open_folder())
    one.start()
    with Session(url=one.url(one.server.owner), name="telemetry-migrate@test") as session:
        migrate(session)
    yield one
    one.stop()


def insist(do: Callable[[], object]) -> None:
    """Do it, as often as it takes."""

    def done() -> bool:
        try:
            do()
        except StoreError:
            return False
        return True

    until(done)


def write(server: DatabaseServer, source: str, first: int, over: threading.Event) -> None:
    """Store block after block, each until it is; the values are numbers from `first` on."""
    with Session(url=server.url(server.server.writer), name=f"telemetry-{source}") as session:
        ledger, writer = (
            Ledger(session=session, source=source, length=None, stamped=False),
            Writer(session=session, lease=15),
        )
        at = 0
        while not over.is_set():
            value = list(range(first + at, first + at + ROWS))
            insist(lambda: ledger.reserve(ROWS))
            block = a_block(source, at, ROWS, value=value)
            insist(lambda block=block: writer.store([block]))  # type: ignore[misc]  # bound now
            at += ROWS


def test_a_database_that_crashes_costs_no_listener_a_reading(server: DatabaseServer, make_api: MakeApi) -> None:
    url = server.url(server.server.reader)
    apis = [make_api(url, connection_wait=0.5) for _ in range(2)]
    steady, hopping, over = listen(apis[0]).ready(), [listen(apis[1], max_seconds=1).ready()], threading.Event()
    writing = [
        threading.Thread(target=write, args=(server, f"s{n}", n * 1_000_000, over), daemon=True) for n in range(3)
    ]
    for thread in writing:
        thread.start()
    for _ in range(CRASHES):
        heard = len(steady.values)
        until(lambda heard=heard: len(steady.values) > heard + 2_000, "readings between two crashes")  # type: ignore[misc]  # bound now
        server.kill()
        server.start()
        hopping.append(again(apis, hopping[-1].ends()))
    over.set()
    for thread in writing:
        thread.join()
    stored = sorted(value for (value,) in server.ask("SELECT value FROM samples"))
    assert sorted(steady.hears(len(stored))) == stored
    hopping.append(again(apis, hopping[-1].ends()).ends())
    assert sorted(value for ear in hopping for value in ear.values) == stored
    assert {"reachable": True} in steady.told("database")


def again(apis: list[Api], last: Ear) -> Ear:
    """Go on from there, as soon as that may be, at another server."""
    apis.reverse()

    def accepted() -> Ear | None:
        try:
            return listen(apis[0], last=last.id, max_seconds=1)
        except AssertionError:  # a database that starts
            return None

    ear = until(accepted, "a database that answers")
    assert ear is not None
    return ear
