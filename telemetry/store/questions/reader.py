"""The API's questions and their answers; the SQL is sql/reader.sql.

What lives here: which GPUs there are, what an id means, and which readings belong to a question. What does not: how a
page is unpacked (`pages`), how answers are written down (`webapi`), how connections are made (`pool`).
"""

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, cast

from telemetry.block import MIN_TIME
from telemetry.store.pool import Pool
from telemetry.store.queries import query
from telemetry.store.questions.pages import Page, Position, Readings, Series, pieces, unpack
from telemetry.store.questions.selection import like, metric_numbers
from telemetry.store.schema import check_migrated
from telemetry.store.tiers import Tier

QUESTIONS = "reader.sql"
"""The file of the statements that are asked here."""

ENOUGH = 10_000
"""Readings in which the newest of each metric of a GPU are looked for: beyond them nothing older is read."""

REMEMBERED = 10_000
"""Series of a range that are not asked for again; a reading may have a workload of its own."""

WINDOWS = (timedelta(seconds=10), timedelta(minutes=2), timedelta(hours=1), timedelta(days=1), timedelta(days=30), None)
"""How far back they are looked for, in turn, until there are enough; None: to the first one. The first is short,
because the columnstore reads a whole window: a looped file may bring 3,000,000 readings of one GPU in an hour."""

TOGETHER = 1_000
"""Rows of a range that the driver takes from the connection at a time."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEY = ("after_gpu", "after_metric", "after_workload", "after_block", "skip")


class UnknownGpu(LookupError):
    """Raised when no GPU answers to an id. `count` GPUs have telemetry, `example` is the id of one."""

    def __init__(self, count: int, example: str | None) -> None:
        super().__init__(f"none of {count} GPUs")
        self.count, self.example = count, example


class AmbiguousGpu(LookupError):
    """Raised when a number alone names GPUs of several hosts. `examples` are ids that would be exact."""

    def __init__(self, hosts: int, examples: Sequence[str]) -> None:
        super().__init__(f"on {hosts} hosts")
        self.hosts, self.examples = hosts, examples


@dataclass(frozen=True, slots=True)
class GpuRow:
    """One identity and place of a GPU or MIG instance; `number` stands for it in samples."""

    number: int
    id: str
    uuid: str
    gpu_id: str
    device: str
    model_name: str
    hostname: str
    labels: Mapping[str, str]
    first_seen: datetime | None
    last_seen: datetime | None


class Newest(NamedTuple):
    """The newest value of one metric of one row of a GPU; `number` as in GpuRow."""

    number: int
    metric_name: str
    unit: str
    time: datetime
    value: float


class Reader:
    """Asks; safe from any number of threads. Every call may raise StoreError."""

    def __init__(self, *, pool: Pool) -> None:
        self.pool = pool

    def check(self) -> Tier:
        """The tier that answers. NotMigrated when the schema is missing or older than this version."""
        with self.pool.use() as connection:
            return check_migrated(connection)

    def gpu_ids(
        self, *, host: str | None = None, model: str | None = None, after: str | None = None, limit: int | None = None
    ) -> list[str]:
        """Ids of GPUs that have telemetry, in byte order, beyond `after`; `host` and `model` are globs (* and ?)."""
        values = {"host": like(host), "model": like(model), "after": after, "limit": limit}
        return [gpu for (gpu,) in self._all("gpu_ids", values)]

    def gpus_called(self, text: str) -> list[GpuRow]:
        """The rows of what a person calls a GPU: uuid, hostname:gpu_id, or a gpu_id that only one host has.

        All of them have one id: that of the GPU which was last seen at that place. The latest first. Raises
        UnknownGpu or AmbiguousGpu.
        """
        host, colon, index = text.rpartition(":")
        found = self._all("gpus_called", {"id": text, "host": host if colon else None, "index": index})
        hosts = [] if found else self._all("hosts_of_index", {"index": text})
        if len(hosts) > 1:
            raise AmbiguousGpu(hosts[0][1], [f"{name}:{text}" for name, _ in hosts])
        if hosts:
            found = self._all("gpus_called", {"id": None, "host": hosts[0][0], "index": text})
        if not found:
            raise UnknownGpu(*self._all("gpu_count", {})[0])
        return [GpuRow(*row) for row in found]

    def newest(self, gpus: Sequence[GpuRow]) -> list[Newest]:
        """The newest value of each metric in at least the newest 10,000 readings of each row: in all, where fewer.

        Samples are not indexed by metric, so "ever" would read all of a GPU's past. Where there is an index by time,
        10,000 readings of a row are read and no more; in the columnstore, those of the shortest of WINDOWS that holds
        10,000, for it has no such order. Less is read of a row in which every metric was found that there is.
        """
        found: dict[tuple[int, str], Newest] = {}
        left = {gpu.number: gpu.last_seen for gpu in gpus if gpu.last_seen}
        for window in WINDOWS:
            if not left:
                break
            since = [max(last - window, moment(MIN_TIME)) if window else moment(MIN_TIME) for last in left.values()]
            values = {"gpus": list(left), "since": since, "oldest": min(since), "enough": ENOUGH}
            rows = self._all("newest", values)
            found |= {(row[0], row[1]): Newest(*row[:5]) for row in rows}
            metrics = Counter(row[0] for row in rows)
            done = {number for number, *_, read, known in rows if read >= ENOUGH or metrics[number] == known}
            left = {number: last for number, last in left.items() if number not in done}
        return list(found.values())

    def metrics_of(self, gpus: Sequence[GpuRow]) -> list[str]:
        """Names of the metrics among those newest readings, in order."""
        return sorted({newest.metric_name for newest in self.newest(gpus)})

    def readings(
        self,
        gpus: Sequence[int],
        *,
        start: int,
        end: int,
        metrics: Sequence[str] | None = None,
        after: Position | None = None,
        limit: int,
    ) -> Readings:
        """At most `limit` readings of GPUs (by number) from `start` to `end`, both inclusive, µs since 1970.

        `metrics` are names of either generation, whole or short; None: all.
        """
        numbers = None if metrics is None else self._metric_numbers(metrics)
        values: dict[str, Any] = {
            "gpus": list(gpus),
            "start": moment(max(start, after.time) if after else start),
            "end": moment(end),
            "metrics": numbers,
            "limit": limit + 1,
            **dict(zip(_KEY, after[1:] if after else (None, None, None, None, 0), strict=True)),
        }
        # Planning excludes nothing by an empty list or an empty range: without readings to be had, do not ask.
        nothing = numbers == [] or values["start"] > values["end"]
        page = unpack([None] * 6 if nothing else self._all("readings", values)[0], limit)
        triples, code = page.triples()
        return Readings(page.time, code, page.value, self._series(triples.T.tolist()), page.end(after))

    def whole_range(
        self, gpus: Sequence[int], *, start: int, end: int, metrics: Sequence[str] | None = None
    ) -> Generator[Readings, None, None]:
        """All readings of such a range, in the same order, some thousand at a time: one statement, in flat memory.

        Takes a connection until it ends or is closed, which ends the statement, and now and then another one beside it.
        """
        numbers = None if metrics is None else self._metric_numbers(metrics)
        values = {"gpus": list(gpus), "gpu": gpus[0], "start": moment(start), "end": moment(end), "metrics": numbers}
        if numbers == [] or start > end:
            return
        statement = query("range_of_one" if len(gpus) == 1 else "range_of_many", file=QUESTIONS)
        known: dict[tuple[int, ...], Series] = {}
        with self.pool.use_for_export() as connection, connection.cursor() as cursor:
            sent = cursor.stream(statement, values, binary=True, size=TOGETHER)
            with closing(
                cast(Generator[tuple[Any, ...], None, None], sent)
            ) as rows:  # closed, it cancels the statement
                for page in pieces(rows):
                    yield self.described(page, known)

    def described(self, page: Page, known: dict[tuple[int, ...], Series]) -> Readings:
        """The page with its series, of which those that are `known` are not asked for again."""
        triples, code = page.triples()
        keys = [tuple(triple) for triple in triples.tolist()]
        if len(known) > REMEMBERED:
            known.clear()
        missing = [key for key in keys if key not in known]
        known.update(zip(missing, self._series(list(zip(*missing, strict=True))), strict=True) if missing else ())
        return Readings(page.time, code, page.value, [known[key] for key in keys])

    def _series(self, triples: Sequence[Sequence[int]]) -> list[Series]:
        values = {name: list(of) for name, of in zip(("gpus", "metrics", "workloads"), triples, strict=True)}
        return [Series(*row) for row in self._all("series", values)] if triples[0] else []

    def _metric_numbers(self, names: Sequence[str]) -> list[int]:
        with self.pool.use() as connection:
            return metric_numbers(connection, names)

    def _all(self, name: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        with self.pool.use() as connection, connection.cursor(binary=True) as cursor:
            return cursor.execute(query(name, file=QUESTIONS), values).fetchall()


def moment(time: int) -> datetime:
    """The instant so many µs after 1970, as the driver takes it."""
    return _EPOCH + timedelta(microseconds=time)
