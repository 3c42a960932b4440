"""Numbers for GPUs, metrics and workloads: asked for once, inserted when new, remembered while the connection lives.

Each statement commits by itself, before the transaction that stores samples: a number that was handed out stays
valid whatever becomes of the samples. Select first and insert only the missing: ON CONFLICT burns a number.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from telemetry.block import Block, Gpu, Workload
from telemetry.catalog import lookup
from telemetry.store.queries import query
from telemetry.store.session import Connection, Session

REMEMBERED = 200_000
"""Entries a cache may hold before it is emptied: some 40 MB, more than any fleet's series."""

SEQUENCES = 64
"""Dictionaries of blocks whose numbers are kept: blocks of one fleet share them."""

Insert = Callable[[Sequence[Any]], Mapping[str, Any]]


class Dimensions:
    """Numbers of dimension rows, for one session (one thread). Blocks' dictionaries must not change meanwhile."""

    def __init__(self, *, session: Session) -> None:
        self.session = session
        self._generation = -1
        self._gpus = _Table("gpus", np.int32, _gpu_rows)
        self._workloads = _Table("workloads", np.int32, _workload_rows)
        self._metrics = _Table("metrics", np.int16, _metric_rows)

    def learn(self, blocks: Sequence[Block]) -> None:
        """Make sure that every GPU, metric and workload of the blocks has a number."""
        with self.session.use() as connection:
            if self._generation != self.session.generation:
                for table in (self._gpus, self._workloads, self._metrics):
                    table.forget()
                self._generation = self.session.generation
            self._gpus.learn(connection, [block.gpus for block in blocks])
            self._workloads.learn(connection, [block.workloads for block in blocks])
            self._metrics.learn(connection, [block.metrics for block in blocks])

    def numbers(self, block: Block) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """(gpu, metric, workload) of each reading of a block that was learnt; shape (n,)."""
        columns = (self._gpus, block.gpus, block.gpu), (self._metrics, block.metrics, block.metric)
        gpu, metric = (table.numbers(items)[column] for table, items, column in columns)
        return gpu, metric, self._workloads.numbers(block.workloads)[block.workload]

    def gpus(self, block: Block) -> NDArray[Any]:
        """Numbers of such a block's GPUs, one for each item of its dictionary."""
        return self._gpus.numbers(block.gpus)


class _Table:
    """One dimension. What is kept of a sequence holds on to it, so that its id() is no other's."""

    def __init__(self, name: str, dtype: type[np.generic], rows: Insert) -> None:
        self.name, self.dtype, self._rows = name, dtype, rows
        self._cache: dict[Any, int] = {}
        self._known: dict[int, tuple[Sequence[Any], NDArray[Any]]] = {}

    def forget(self) -> None:
        self._cache.clear()
        self._known.clear()

    def learn(self, connection: Connection, sequences: Iterable[Sequence[Any]]) -> None:
        if len(self._known) > SEQUENCES:
            self._known.clear()
        new = {id(items): items for items in sequences if id(items) not in self._known}
        if not new:
            return
        self._find_or_add(connection, dict.fromkeys(item for items in new.values() for item in items))
        self._known |= {number: (items, self._looked_up(items)) for number, items in new.items()}

    def numbers(self, items: Sequence[Any]) -> NDArray[Any]:
        known = self._known.get(id(items))
        return self._looked_up(items) if known is None else known[1]

    def _looked_up(self, items: Sequence[Any]) -> NDArray[Any]:
        return np.array([self._cache[item] for item in items], self.dtype)

    def _find_or_add(self, connection: Connection, distinct: Iterable[Any]) -> None:
        if len(self._cache) > REMEMBERED:
            self._cache.clear()
        keys = {_key(item): item for item in distinct if item not in self._cache}
        if not keys:
            return
        found = _find(connection, self.name, keys)
        new = [key for key in keys if key not in found]
        if new:
            parameters = {"keys": new, **self._rows([keys[key] for key in new])}
            connection.execute(query(f"add_{self.name}"), parameters)
            found |= _find(connection, self.name, new)
        self._cache.update((keys[key], number) for key, number in found.items())


def _find(connection: Connection, name: str, keys: Iterable[Any]) -> dict[Any, int]:
    return dict(connection.execute(query(f"find_{name}"), {"keys": list(keys)}).fetchall())


def _key(item: Gpu | Workload | str) -> bytes | str:
    """What the row is found by: a metric's name, else a digest, because texts may be longer than an index takes."""
    return item if isinstance(item, str) else hashlib.blake2b(orjson.dumps([*item]), digest_size=16).digest()


def _gpu_rows(gpus: Sequence[Gpu]) -> Mapping[str, Any]:
    return {
        "ids": [gpu.uuid or f"{gpu.hostname}:{gpu.gpu_id}" for gpu in gpus],
        "uuids": [gpu.uuid for gpu in gpus],
        "gpu_ids": [gpu.gpu_id for gpu in gpus],
        "devices": [gpu.device for gpu in gpus],
        "models": [gpu.model_name for gpu in gpus],
        "hostnames": [gpu.hostname for gpu in gpus],
        "labels": [gpu.labels for gpu in gpus],
    }


def _workload_rows(workloads: Sequence[Workload]) -> Mapping[str, Any]:
    return {
        "containers": [workload.container for workload in workloads],
        "pods": [workload.pod for workload in workloads],
        "namespaces": [workload.namespace for workload in workloads],
        "labels": [workload.labels for workload in workloads],
    }


def _metric_rows(names: Sequence[str]) -> Mapping[str, Any]:
    known = [lookup(name) for name in names]
    return {
        "canonicals": [metric.canonical if metric else name for name, metric in zip(names, known, strict=True)],
        "units": [metric.unit if metric else "" for metric in known],
        "kinds": [metric.kind if metric else "gauge" for metric in known],
        "descriptions": [metric.description if metric else "" for metric in known],
    }
