"""Each SQLSTATE says what follows: wait, try again, look at the data, tell a person."""

import psycopg
import pytest
from psycopg import errors

from telemetry.store.errors import (
    StoreBusy,
    StoreDenied,
    StoreError,
    StoreLocked,
    StoreLost,
    StoreRefused,
    StoreUnavailable,
    translate,
)

TABLE: dict[type[StoreError], str] = {
    StoreLost: "08000 08003 08006 08P01 57P01 57P02 57P03 57P05 53200 25P03 25P04 40003 XX000",
    StoreDenied: "28000 28P01 3D000",
    StoreUnavailable: (
        "53000 53100 53300 53400 42501 42P01 42703 42883 58030 58P01 0A000 25006 57000 F0000 F0001 XX001 XX002"
    ),
    StoreLocked: "55P03",
    StoreBusy: "40001 40P01 40000 40002 57014",
    StoreRefused: "22001 22003 22P02 22P05 22021 23502 23505 23514 54000 2200H P0001 25P02 55000",
}


@pytest.mark.parametrize(("kind", "state"), [(kind, state) for kind, row in TABLE.items() for state in row.split()])
def test_a_state_means_one_thing(kind: type[StoreError], state: str) -> None:
    try:
        known = errors.lookup(state)
    except KeyError:
        known = type("Unknown", (psycopg.OperationalError,), {"sqlstate": state})
    found = translate(known("a text"))
    assert type(found) is kind
    assert str(found) == f"a text ({state})"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (psycopg.OperationalError("the connection is lost"), StoreLost),
        (psycopg.OperationalError("connection refused"), StoreLost),
        (psycopg.InterfaceError("the connection is closed"), StoreLost),
        (psycopg.OperationalError('password authentication failed for user "x"'), StoreDenied),
        (psycopg.OperationalError('database "x" does not exist'), StoreDenied),
        (psycopg.OperationalError("no pg_hba.conf entry for host"), StoreDenied),
        (psycopg.DataError("integer too large"), StoreRefused),
        (psycopg.ProgrammingError("the query has 1 placeholder"), StoreRefused),
    ],
)
def test_an_error_that_no_server_sent_is_translated_by_its_kind(error: psycopg.Error, kind: type[StoreError]) -> None:
    assert type(translate(error)) is kind


def test_a_message_is_one_line_and_never_empty() -> None:
    assert str(translate(psycopg.OperationalError("a\n  b\tc"))) == "a b c"
    assert str(translate(psycopg.OperationalError())) == "OperationalError"


def test_what_can_be_waited_for_is_told_from_what_cannot() -> None:
    assert issubclass(StoreLost, StoreUnavailable)
    assert issubclass(StoreLocked, StoreBusy)
    assert not issubclass(StoreRefused, StoreUnavailable | StoreBusy)
