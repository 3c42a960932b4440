"""The newest reading of every metric of every GPU, kept current from one look to the next; the SQL is sql/watch.sql.

What lives here: which slices of time are read, and what is remembered between looks. What does not: what is made of it
(`webapi.scraped`), newest values of one GPU (`reader`) or of a part of the fleet (`fleet`).
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from telemetry.store.copy import EPOCH_2000
from telemetry.store.pool import Pool
from telemetry.store.queries import query
from telemetry.store.questions.fleet import Fleet, MetricRow
from telemetry.store.questions.reader import GpuRow
from telemetry.store.questions.standing import AHEAD

QUESTIONS = "watch.sql"
"""The file of the statements that are asked here."""

FRESH = 300.0
"""Seconds after which a value is none any more: Prometheus' own --query.lookback-delta, as /latest has it."""
OVERLAP = 15.0
"""Seconds of readings that are read once more, for those that were committed late."""
RECENT = 5.0
"""Seconds in which most series of a fleet that reports often have a reading: further back, only others are sorted."""
SLICES = (20.0, 80.0, FRESH)
"""Seconds to look back at first, in turn: readings of a metric may lie a minute apart, or five."""
MANY = 5_000
"""Series from which on the further ones are left to the next looks, one each: the first is to be quick too."""
PATIENCE = 2.0
"""Seconds that one of them may take, going by the slice before; else series that are reported less often come later."""
APART = "DCGM_EXP_"
"""How metrics begin of which a GPU has a series for each code: what dcgm-exporter itself counts."""
DAY = 86_400.0
"""Seconds for which a GPU that is heard of no more is told of."""
BOARDS = 20_000
"""GPUs and places of GPUs that are told of at most: a source that makes uuids up must not blind who scrapes."""

_COLUMNS = (">i8", ">i4", ">i2", ">i4", ">f8")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Values(NamedTuple):
    """Readings, at most one of each GPU and metric (`APART`: and workload), in this order; all columns of shape (n,).

    `time` in µs since 1970; `gpu`, `metric` and `workload` are numbers; `value` as the source gave it.
    """

    time: NDArray[np.int64]
    gpu: NDArray[np.int64]
    metric: NDArray[np.int64]
    workload: NDArray[np.int64]
    value: NDArray[np.float64]

    def chosen(self, which: NDArray[np.bool_] | NDArray[np.int64] | slice) -> "Values":
        """Those that an index of numpy names, in its order."""
        time, gpu, metric, workload, value = self
        return Values(time[which], gpu[which], metric[which], workload[which], value[which])


@dataclass(frozen=True, slots=True)
class Workload:
    """Where a reading came from, beside its GPU: of `labels` those that neither columns nor the GPU determine."""

    container: str
    pod: str
    namespace: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Fleetwide:
    """A look: the newest values, what their numbers stand for, and the GPUs of the last day.

    `at` is when it was read, µs since 1970; `seen` when each of `gpus` was heard of last, Unix seconds, both by number;
    of a GPU that once had a reading of the future, when the newest was that is none.
    `cut`: at least so many series are missing, as there are more of them, or of GPUs, than may be; 0: none is.
    """

    at: int
    values: Values
    gpus: Mapping[int, GpuRow]
    seen: Mapping[int, float]
    metrics: Mapping[int, MetricRow]
    workloads: Mapping[int, Workload]
    cut: int


class Current:
    """Looks, one at a time. What those before found is kept, `most` readings of `boards` GPUs at most, as numbers."""

    def __init__(self, *, pool: Pool, most: int, many: int = MANY, boards: int = BOARDS) -> None:
        self.pool, self.most, self.many, self.boards = pool, most, many, boards
        self._values = unpacked([None] * len(_COLUMNS))
        self._gpus: dict[int, GpuRow] = {}
        self._unsaid: dict[int, float] = {}
        self._workloads: dict[int, Workload] = {}
        self._left: list[tuple[float, float]] = []
        self._apart: list[int] = []
        self._at = 0.0

    def look(self) -> Fleetwide:
        """Read what is new. Raises StoreError; the next look then begins where this one did."""
        now = time.time()
        metrics = {row.number: row for row in Fleet(pool=self.pool).metrics()}
        self._apart = [number for number, row in metrics.items() if row.canonical.startswith(APART)]
        found, cut = self._first(now) if now - self._at > FRESH - OVERLAP else self._news(now)
        values = newest(found, _micros(now - FRESH), self._apart)
        beyond = self._beyond(now) if cut or len(values.time) > self.most else 0
        values = values.chosen(slice(self.most))
        seen, unseen = self._seen(values, now)
        beyond += unseen + int(np.isin(values.gpu, list(seen), invert=True).sum())
        gpus, workloads = self._rows(seen), self._named(np.unique(values.workload).tolist())
        self._values, self._gpus, self._workloads, self._at = values, gpus, workloads, now
        return Fleetwide(_micros(now), values, gpus, seen, metrics, workloads, beyond)

    def _first(self, now: float) -> tuple[Values, bool]:
        """The newest slice, and the others too where that is little."""
        bounds = [now - back for back in SLICES]
        self._left = list(pairwise(reversed(bounds)))
        found, cut = self._slice(bounds[0], now + AHEAD)
        while self._left and len(found.time) < self.many:
            more, full = self._slice(*self._left.pop())
            found, cut = joined([more, found]), cut or full
        return found, cut

    def _news(self, now: float) -> tuple[Values, bool]:
        """What came since, and a slice of what a first look left."""
        began = time.monotonic()
        found, cut = self._slice(start := self._at - OVERLAP, now + AHEAD)
        pace = (time.monotonic() - began) / (now - start)
        parts = [self._values, found]
        if self._left:
            begin, end = self._left.pop()
            if pace * (end - begin) > PATIENCE:
                self._left.clear()
            else:
                parts.insert(0, self._slice(begin, end)[0])
        return joined(parts), cut

    def _slice(self, start: float, end: float) -> tuple[Values, bool]:
        split = min(max(start, time.time() - RECENT), end)
        values: dict[str, Any] = {
            "start": _moment(start),
            "split": _moment(split),
            "end": _moment(end),
            "limit": self.most + 1,
        }
        with self.pool.use() as connection, connection.transaction(), connection.cursor(binary=True) as cursor:
            cursor.execute(query("in_memory", file=QUESTIONS))
            row = cursor.execute(query("current", file=QUESTIONS), values).fetchone() or ()
            found = unpacked(row)
            if self._apart:
                values["metrics"] = self._apart
                row = cursor.execute(query("apart", file=QUESTIONS), values).fetchone() or ()
                found = newest(joined([found, unpacked(row)]), 0, self._apart)
        return found, len(found.time) > self.most

    def _beyond(self, now: float) -> int:
        """How many series more than may be were reported just now; there is one at least."""
        ((count,),) = self._all("series", {"start": _moment(now - SLICES[0]), "end": _moment(now + AHEAD)})
        return max(1, int(count) - self.most)

    def _seen(self, values: Values, now: float) -> tuple[dict[int, float], int]:
        """When GPUs of the last day were heard of, by number; and how many more there are, which are left out.

        Those that live come first, of these and of others those that are known longest: made-up ones come and go.
        """
        bounds = {"since": _moment(now - DAY), "until": _moment(now + AHEAD)}
        asked = bounds | {"fresh": _moment(now - FRESH), "limit": self.boards + 1}
        seen = {gpu: micros / 1e6 for gpu, micros in self._all("seen", asked)}
        found = seen | self._heard(values, seen, now - DAY)
        if not (more := len(found) - self.boards) > 0:
            return found, 0
        if len(seen) > self.boards:
            ((count,),) = self._all("boards", bounds)
            more = max(more, int(count) - self.boards)
        kept = sorted(found, key=lambda gpu: (found[gpu] < now - FRESH, gpu))[: self.boards]
        self._unsaid = {gpu: at for gpu in kept if (at := self._unsaid.get(gpu)) is not None}
        return {gpu: found[gpu] for gpu in kept}, more

    def _heard(self, values: Values, seen: Mapping[int, float], since: float) -> dict[int, float]:
        """By their values when those GPUs were heard of whose own word for it is ahead, for as long as the others.

        One reading of the future must not hide a GPU, nor its end. Looks of other processes are not remembered here.
        """
        found = {gpu: at for gpu, at in self._unsaid.items() if at >= since} | latest(values)
        self._unsaid = {gpu: at for gpu, at in found.items() if gpu not in seen}
        return self._unsaid

    def _rows(self, numbers: Iterable[int]) -> dict[int, GpuRow]:
        """The GPUs of these numbers; only those are asked for that are not known, and no others are kept."""
        known = {number: self._gpus[number] for number in numbers if number in self._gpus}
        missing = [number for number in numbers if number not in known]
        rows = self._all("places", {"gpus": missing}) if missing else []
        return known | {row[0]: GpuRow(*row) for row in rows}

    def _named(self, numbers: Iterable[int]) -> dict[int, Workload]:
        """Likewise the workloads."""
        known = {number: self._workloads[number] for number in numbers if number in self._workloads}
        missing = [number for number in numbers if number not in known]
        rows = self._all("workloads", {"workloads": missing}) if missing else []
        return known | {row[0]: Workload(row[1], row[2], row[3], _own(row[4])) for row in rows}

    def _all(self, name: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        with self.pool.use() as connection, connection.cursor(binary=True) as cursor:
            return cursor.execute(query(name, file=QUESTIONS), values).fetchall()


def unpacked(columns: Sequence[bytes | None]) -> Values:
    """The values in the columns' bytes; None: there are none."""
    arrays = [np.frombuffer(data or b"", kind) for data, kind in zip(columns, _COLUMNS, strict=True)]
    time, gpu, metric, workload = (array.astype(np.int64) for array in arrays[:4])
    return Values(time + EPOCH_2000, gpu, metric, workload, arrays[4].astype(np.float64))


def joined(parts: Sequence[Values]) -> Values:
    """One after the other."""
    time, gpu, metric, workload = (np.concatenate([part[n] for part in parts]).astype(np.int64) for n in range(4))
    return Values(time, gpu, metric, workload, np.concatenate([part.value for part in parts]))


def newest(values: Values, oldest: int, apart: Sequence[int] = ()) -> Values:
    """Of each GPU and metric the newest, of those of one time the last; none before `oldest`, µs since 1970.

    Of metrics that are `apart` of each workload too.
    """
    workload = np.where(np.isin(values.metric, apart), values.workload, 0) if apart else np.zeros_like(values.gpu)
    order = np.lexsort((values.time, workload, values.metric, values.gpu))
    gpu, metric, workload = values.gpu[order], values.metric[order], workload[order]
    last = np.ones(len(order), np.bool_)
    last[:-1] = (gpu[1:] != gpu[:-1]) | (metric[1:] != metric[:-1]) | (workload[1:] != workload[:-1])
    kept = order[last]
    return values.chosen(kept[values.time[kept] >= oldest])


def latest(values: Values) -> dict[int, float]:
    """When each GPU's newest value was read, Unix seconds by number; the values stand by GPU."""
    gpus, starts = np.unique(values.gpu, return_index=True)
    times = np.maximum.reduceat(values.time, starts) if len(starts) else values.time
    return dict(zip(gpus.tolist(), (times / 1e6).tolist(), strict=True))


def _own(labels: object) -> dict[str, str]:
    """Those that have a value of their own. A text that could not be taken apart has none."""
    return {name: str(text) for name, text in labels.items() if text is not None} if isinstance(labels, dict) else {}


def _micros(seconds: float) -> int:
    return int(seconds * 1_000_000)


def _moment(seconds: float) -> datetime:
    return _EPOCH + timedelta(seconds=seconds)
