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

Insert = Callable[[Sequence[Any]], Mapping[str, Any]]


class Dimensions:
    """Numbers of dimension rows, for one session (one thread)."""

    def __init__(self, *, session: Session) -> None:
        self.session = session
        self._generation = -1
        self._gpus: dict[Gpu, int] = {}
        self._workloads: dict[Workload, int] = {}
        self._metrics: dict[str, int] = {}

    def learn(self, blocks: Sequence[Block]) -> None:
        """Make sure that every GPU, metric and workload of the blocks has a number."""
        with self.session.use() as connection:
            if self._generation != self.session.generation:
                self._forget()
            _learn(connection, "gpus", self._gpus, (g for b in blocks for g in b.gpus), _gpu_rows)
            _learn(connection, "workloads", self._workloads, (w for b in blocks for w in b.workloads), _workload_rows)
            _learn(connection, "metrics", self._metrics, (m for b in blocks for m in b.metrics), _metric_rows)

    def numbers(self, block: Block) -> tuple[NDArray[np.int32], NDArray[np.int16], NDArray[np.int32]]:
        """(gpu, metric, workload) of each reading of a block that was learnt; shape (n,)."""
        gpus = np.array([self._gpus[gpu] for gpu in block.gpus], np.int32)
        metrics = np.array([self._metrics[name] for name in block.metrics], np.int16)
        workloads = np.array([self._workloads[workload] for workload in block.workloads], np.int32)
        return gpus[block.gpu], metrics[block.metric], workloads[block.workload]

    def _forget(self) -> None:
        for cache in (self._gpus, self._workloads, self._metrics):
            cache.clear()
        self._generation = self.session.generation


def _learn(connection: Connection, name: str, cache: dict[Any, int], wanted: Iterable[Any], rows: Insert) -> None:
    distinct = dict.fromkeys(wanted)
    if len(cache) > REMEMBERED:
        cache.clear()
    missing = [item for item in distinct if item not in cache]
    if not missing:
        return
    keys = {_key(item): item for item in missing}
    found = _find(connection, name, keys)
    new = [key for key in keys if key not in found]
    if new:
        parameters = {"keys": new, **rows([keys[key] for key in new])}
        connection.execute(query(f"add_{name}"), parameters)
        found |= _find(connection, name, new)
    cache.update((keys[key], number) for key, number in found.items())


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
