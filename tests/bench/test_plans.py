"""Plans are those of the statements that the reader sends, and asking for them changes no answer.

What does not live here: any judgement of a plan.
"""

from __future__ import annotations

from contextlib import closing

import pytest

from telemetry.store.pool import Pool
from telemetry.store.questions.reader import Reader
from tests.bench.plans import READS, Explained, Plan, text
from tests.fixtures.filled import fill, fleet
from tests.fixtures.store import Database

STATEMENTS = {"GPU list": 1, "latest": 2, "range as a page of JSON": 3, "range as CSV": 4}
"""How many each read sends: a name is looked up, readings are read, series described; an export sets its time-out. Of
steps the tier says."""


def told(pool: Pool, read: str) -> str:
    with closing(pool):
        return repr(READS[read](Reader(pool=pool), "GPU-node-1-0"))


@pytest.mark.parametrize("read", READS)
def test_every_statement_of_a_read_is_explained_and_answered(database: Database, read: str) -> None:
    fill(database, fleet())
    explained = Explained(url=database.reader)
    assert told(explained, read) == told(Pool(url=database.reader), read)
    assert len(explained.seen) == STATEMENTS.get(read, len(explained.seen)) > 0
    for statement, plan in explained.seen:
        assert "SELECT" in statement
        assert "EXPLAIN" not in statement
        assert "actual time=" in plan
        assert "Execution Time:" in plan
    assert any("Buffers:" in plan for _, plan in explained.seen)


def test_plans_are_told_with_their_statement_and_where_they_are_from() -> None:
    plan = Plan("plain", 30_000, "latest", "SELECT 1", "Result  (actual time=1)")
    assert text([plan]) == "== latest, plain, 30,000 rows\nSELECT 1\n\nResult  (actual time=1)"
    assert plan.as_dict()["plan"] == plan.plan
