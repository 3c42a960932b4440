"""Which readings pass a selection, told from what their series say.

Other questions look a selection up in the database first. Somebody who listens hears of GPUs, metrics and pods that
were not there when he began, so each new series is looked at as it comes. What does not live here: what can be
selected (`telemetry.store.questions.selection`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from telemetry.catalog import lookup
from telemetry.store.questions.pages import Series
from telemetry.store.questions.selection import Selection

REMEMBERED = 20_000
"""Series that are not looked at again."""


class Sieve:
    """Tells series that pass from others, for one listener."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._metrics = frozenset(map(_canonical, selection.metrics)) | frozenset(selection.metrics)
        self._known: dict[Series, bool] = {}

    def passing(self, series: Sequence[Series]) -> NDArray[np.bool_]:
        """Of each series, shape (k,), whether it passes."""
        if len(self._known) > REMEMBERED:
            self._known.clear()
        for one in series:
            if one not in self._known:
                self._known[one] = self._passes(one)
        return np.fromiter((self._known[one] for one in series), np.bool_, len(series))

    def _passes(self, series: Series) -> bool:
        wanted = self._selection
        globs = (
            (wanted.host, series.hostname),
            (wanted.model, series.model_name),
            (wanted.namespace, series.namespace),
            (wanted.pod, series.pod),
        )
        return (
            (not wanted.gpus or (series.uuid or f"{series.hostname}:{series.gpu_id}") in wanted.gpus)
            and (
                not wanted.metrics or not self._metrics.isdisjoint({series.metric_name, _canonical(series.metric_name)})
            )
            and all(glob is None or matches(glob, text) for glob, text in globs)
        )


def matches(glob: str, text: str) -> bool:
    """Whether a text is what a glob means: `*` any text, `?` one character; case does not matter.

    In time that grows with the product of both lengths at most, whatever stars there are.
    """
    glob, text = glob.lower(), text.lower()
    at = mark = 0
    star = -1
    for_now = 0
    while at < len(text):
        if for_now < len(glob) and glob[for_now] == "*":
            star, mark = for_now, at
            for_now += 1
        elif for_now < len(glob) and glob[for_now] in ("?", text[at]):
            at, for_now = at + 1, for_now + 1
        elif star >= 0:
            mark += 1
            at, for_now = mark, star + 1
        else:
            return False
    return not glob[for_now:].strip("*")


def _canonical(name: str) -> str:
    known = lookup(name)
    return known.canonical if known else name
