"""Which part of the fleet a question is about, and the numbers that stand for it in samples.

What lives here: filters as people give them, and the GPUs and workloads that they let through. What does not: what is
asked of those (`reader` and the questions beside it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from telemetry.catalog import lookup
from telemetry.store.queries import query
from telemetry.store.session import Connection

QUESTIONS = "selection.sql"
"""The file of the statements that are asked here."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Filters, all of which a reading must pass; None and () let everything pass.

    `gpus` are ids (uuid, or hostname:gpu_id of a GPU without one); `metrics` names of either generation, whole or
    short. The others are globs: `*` is any text, `?` one character, and case does not matter.
    """

    gpus: tuple[str, ...] = ()
    host: str | None = None
    model: str | None = None
    namespace: str | None = None
    pod: str | None = None
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Numbers:
    """What stands for a selection in samples; None: every one, []: none."""

    gpus: list[int] | None
    metrics: list[int] | None
    workloads: list[int] | None

    @property
    def nothing(self) -> bool:
        """Whether no reading can be selected. Planning excludes nothing by an empty list, so do not ask then."""
        return [] in (self.gpus, self.metrics, self.workloads)


def numbers_of(connection: Connection, selection: Selection) -> Numbers:
    """Look the selection up."""
    gpus, host, model = selection.gpus, like(selection.host), like(selection.model)
    namespace, pod = like(selection.namespace), like(selection.pod)
    return Numbers(
        _ask(connection, "selected_gpus", ids=list(gpus) or None, host=host, model=model)
        if gpus or host or model
        else None,
        metric_numbers(connection, selection.metrics) if selection.metrics else None,
        _ask(connection, "selected_workloads", namespace=namespace, pod=pod) if namespace or pod else None,
    )


def metric_numbers(connection: Connection, names: Sequence[str]) -> list[int]:
    """The metrics of these names, and those of the same meaning under another one."""
    known = [lookup(name) for name in names]
    canonicals = [*names, *(metric.canonical for metric in known if metric)]
    return _ask(connection, "selected_metrics", names=list(names), canonicals=canonicals)


def like(glob: str | None) -> str | None:
    """The pattern of LIKE that matches what a glob does: * any text, ? one character, nothing else is special."""
    if glob is None:
        return None
    escaped = glob.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")


def _ask(connection: Connection, name: str, **values: Any) -> list[int]:
    return [number for (number,) in connection.execute(query(name, file=QUESTIONS), values)]
