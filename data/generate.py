"""Simulates a GPU fleet over time and writes it as a DCGM export in CSV.

`python data/generate.py --out data/sample.csv --truth data/sample.truth.json`
`python data/generate.py --hosts 32 --gpus 8 --interval 15 --rows 10000000 --out /tmp/big.csv`

What lives here: how a row is written, which rows are spoiled, and the count of what a careful reader must
make of the file. What does not: the fleet itself (`fleet.py`), and anything of the project, so that the
expected counts do not come from the code they check. Rows stream, memory is flat.
"""

import argparse
import csv
import io
import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from fleet import CLOCK, COPY, ENERGY, METRICS, POWER, TEMP, UTIL, XID, XID_CODE, Entity, Load, Sensors, fleet

HEADER = "timestamp,metric_name,gpu_id,device,uuid,modelName,Hostname,container,pod,namespace,value,labels_raw"
TIME, GPU_ID, UUID, HOST, VALUE = 0, 2, 4, 6, 10  # columns that spoiled rows get wrong
# DCGM's "no value", as exporters print it: int64, the same through a float, fp64, int32, text
INT64, INT64_FLOAT, FP64, INT32 = "9223372036854775794", "9.223372036854776e+18", "140737488355328", "2147483632"
BLANKS = (INT64, INT64_FLOAT, "<<<NOT_SUPPORTED>>>", FP64, INT32)
STALE_AT, XID_AT = 0.7, 0.6  # parts of the run at which the last host goes silent, a GPU is lost


class Sheet:
    """Writes readings as the export does, spoils some, and counts what must become of them."""

    def __init__(self, rng: np.random.Generator, entities: list[Entity], load: Load, bad_every: int) -> None:
        self.rng, self.entities, self.load, self.bad_every = rng, entities, load, bad_every
        self.faults = itertools.cycle(FAULTS)
        self.texts = {name: [self._text(i, name) for i in range(len(entities))] for name in METRICS}
        self.rows, self.blank = 0, 0
        self.rejected: Counter[str] = Counter()
        self.seen: set[int] = set()

    def refresh(self, changed: list[int]) -> None:
        """Rebuild the constant part of the rows of entities whose pod changed."""
        for name, i in itertools.product(METRICS, changed):
            self.texts[name][i] = self._text(i, name)

    def tick(self, now: datetime, alive: list[int], values: dict[str, list[str]], room: int) -> Iterator[str]:
        """Yield one interval's rows, at most `room`: all GPUs of a metric, then the next metric."""
        stamps = [f'"{now + timedelta(seconds=e.host % 4):%Y-%m-%dT%H:%M:%SZ}"' for e in self.entities]
        for name in METRICS:
            column, texts = values[name], self.texts[name]
            blanks = self._blanks(name)
            for i in alive:
                if room <= 0:
                    return
                head, tail = texts[i]
                self.rows, room = self.rows + 1, room - 1
                if self.bad_every and self.rows % self.bad_every == 0:
                    # never a blank too: which of the two a row is would be a matter of taste
                    yield self._spoil(f'{stamps[i]}{head}{column[i]}"{tail}')
                    continue
                self.blank += i in blanks
                yield f'{stamps[i]}{head}{blanks.get(i, column[i])}"{tail}'
            self.seen.update(alive)

    def _blanks(self, name: str) -> dict[int, str]:
        """Entities that have no value of this metric now, with the sentinel that says so."""
        chosen = np.flatnonzero(self.rng.random(len(self.entities)) < 0.004).tolist()
        # a counter of energy can reach the int32 and fp64 sentinels: there they would be readings
        kinds = BLANKS[:3] if name == ENERGY else BLANKS
        blanks = {i: kinds[int(self.rng.integers(len(kinds)))] for i in chosen}
        if name in (UTIL, COPY):  # not supported under MIG
            blanks |= {i: INT64 for i, entity in enumerate(self.entities) if entity.mig}
        if self.load.is_lost and name in (UTIL, POWER, ENERGY, TEMP, CLOCK):
            blanks[self.load.lost] = FP64 if name == POWER else INT64_FLOAT
        return blanks

    def _spoil(self, row: str) -> str:
        reason, column, text = next(self.faults)
        fields = next(csv.reader([row]))
        if reason == "too many fields":
            fields.append(text)
        else:
            fields[column] = text
        if reason == "no uuid and no hostname":
            fields[HOST] = ""
        self.rejected[reason] += 1
        out = io.StringIO()
        csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(fields)
        return out.getvalue()

    def _text(self, i: int, name: str) -> tuple[str, str]:
        """The row before its value and after it."""
        entity, (container, pod, namespace) = self.entities[i], self.load.pods[i]
        host, gpu_id = f"heron-{entity.host + 1:02d}", str(entity.gpu_id)
        device, model = f"nvidia{gpu_id}", entity.model.name
        labels = {
            "DCGM_FI_DRIVER_VERSION": "550.90.07", "Hostname": host, "UUID": entity.uuid, "__name__": name,
            "container": container, "device": device, "gpu": gpu_id, "instance": f"{host}:9400",
            "job": "dcgm-exporter", "modelName": model, "namespace": namespace, "pod": pod,
        }  # fmt: skip
        if entity.mig:
            labels["GPU_I_ID"], labels["GPU_I_PROFILE"] = entity.mig
        if name == XID and self.load.is_lost and i == self.load.lost:
            labels |= {"err_code": str(XID_CODE), "err_msg": "GPU has fallen off the bus"}
        raw = ",".join(f'{key}=""{labels[key]}""' for key in sorted(labels) if labels[key])
        columns = (name, gpu_id, device, entity.uuid, model, host, container, pod, namespace)
        return "".join(f',"{column}"' for column in columns) + ',"', f',"{raw}"\n'


# why a reader must reject the row, and what spoils it
FAULTS = (
    ("value is no number", VALUE, "n/a"),
    ("no gpu_id", GPU_ID, ""),
    ("time cannot be read", TIME, "yesterday at noon"),
    ("too many fields", VALUE, "one more"),
    ("value is not finite", VALUE, "NaN"),
    ("no uuid and no hostname", UUID, ""),
)


# the numbers of the command line; with the start they determine every byte
NUMBERS = {
    "seed": (7, "of the random numbers"),
    "hosts": (4, "hosts"),
    "gpus": (2, "GPUs of each host"),
    "minutes": (100, "time simulated, unless --rows is given"),
    "interval": (300, "seconds between two readings of a metric"),
    "rows": (0, "stop after so many rows; 0 = by --minutes"),
    "bad_every": (250, "every n-th row is unusable; 0 = none"),
}


def simulate(options: argparse.Namespace) -> Iterator[tuple[str, Sheet]]:
    """Yield every row with the sheet that counted it."""
    rng = np.random.Generator(np.random.PCG64(options.seed))
    entities = fleet(rng, options.hosts, options.gpus)
    load, sensors = Load(rng, entities), Sensors(rng, entities)
    load.step(day_seconds=36_000, seconds=7_200, lose=False)  # nobody starts with an idle fleet
    sheet = Sheet(rng, entities, load, options.bad_every)
    limit = options.rows or sys.maxsize
    ticks = options.minutes * 60 // options.interval
    if options.rows:
        ticks = -(-options.rows // (len(entities) * len(METRICS)))
    for tick in itertools.count() if options.rows else range(ticks):
        now = options.start + timedelta(seconds=tick * options.interval)
        day_seconds = now.hour * 3_600 + now.minute * 60 + now.second
        sheet.refresh(load.step(day_seconds, options.interval, tick >= XID_AT * ticks))
        silent = options.hosts - 1 if options.hosts > 1 and tick >= STALE_AT * ticks else None
        alive = [i for i, entity in enumerate(entities) if entity.host != silent]
        for row in sheet.tick(now, alive, sensors.step(load, options.interval), limit - sheet.rows):
            yield row, sheet
        if sheet.rows >= limit:
            return


def truth(sheet: Sheet, options: argparse.Namespace) -> dict[str, Any]:
    """The counts that a reader of the whole file must arrive at."""
    seen = [sheet.entities[i] for i in sorted(sheet.seen)]
    return {
        "arguments": {name: getattr(options, name) for name in NUMBERS},
        "rows": sheet.rows,
        "stored": sheet.rows - sheet.blank - sheet.rejected.total(),
        "blank": sheet.blank,
        "rejected": sheet.rejected.total(),
        "rejected_by_reason": dict(sorted(sheet.rejected.items())),
        "hosts": len({entity.host for entity in seen}),
        "gpus": len({entity.card for entity in seen}),
        "gpus_without_uuid": len({entity.card for entity in seen if not entity.uuid}),
        "mig_instances": sum(entity.mig is not None for entity in seen),
        "metrics": len(METRICS),
    }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write a simulated DCGM export of a GPU fleet as CSV.")
    for name, (default, text) in NUMBERS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help=f"{text} [{default}]")
    parser.add_argument("--start", type=datetime.fromisoformat, default=datetime(2025, 3, 3, 9, tzinfo=UTC))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--truth", type=Path, help="write the expected counts here, as JSON")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Write the file, and the counts when asked for."""
    options = parse(arguments)
    sheet = None
    with options.out.open("w", encoding="ascii", newline="") as out:
        out.write(HEADER + "\n")
        for row, counted in simulate(options):
            out.write(row)
            sheet = counted
    if options.truth and sheet:
        options.truth.write_text(json.dumps(truth(sheet, options), indent=2) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
