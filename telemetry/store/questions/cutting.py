"""How a range is asked for now: which part of which rollup, and what of samples, because rollups may lag behind.

What does not live here: the rollups there are, and the rule by which a range is cut (`rollups`); asking for values
(`steps`, `fleet`).
"""

from collections import defaultdict

from telemetry.store.queries import query
from telemetry.store.questions.rollups import SAMPLES, Interval, Piece, fitting, pieces
from telemetry.store.session import Connection

QUESTIONS = "steps.sql"
"""The file of the statements that are asked here."""


def cut(connection: Connection, start: int, end: int, step: int, *, dropped: bool = True) -> list[Piece]:
    """The range (inclusive, µs since 1970) in parts that are asked for one by one; all of samples without rollups.

    Without `dropped`, what rollups alone still say, of readings that retention dropped, is left out. Parts answer for
    each other only within one snapshot: ask for them in the transaction in which this was asked.
    """
    levels = fitting(step)
    if not levels or connection.execute(query("rollups_there", file=QUESTIONS)).fetchone() != (True,):
        return [Piece(SAMPLES, start, end)]
    doubts: dict[int, list[Interval]] = defaultdict(list)
    values = {"start": start, "end": end}
    for level, low, high in connection.execute(query("rollup_doubts", file=QUESTIONS), values):
        doubts[level].append((low, high))
    found = pieces(start, end, levels, doubts)
    if dropped:
        return found
    gone = doubts[SAMPLES]
    return [one for one in found if one.level == SAMPLES or not any(low <= one.start < high for low, high in gone)]
