"""A simulated GPU fleet: who is there, who works, and what the instruments show.

What lives here: hosts and GPUs (`fleet`), jobs that come and go (`Load`), power, temperature and energy
that follow them (`Sensors`). What does not: how a row is written or spoiled (`generate.py`).

The same draws give the same values on any machine: arrays see only + - * / and comparisons, and chance
comes from uniform draws alone, because the vectorised exp, sin and normal differ by processor.
"""

import math
import uuid
from typing import Any, NamedTuple

import numpy as np

METRICS = (
    "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_MEM_COPY_UTIL", "DCGM_FI_DEV_POWER_USAGE",
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_SM_CLOCK",
    "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_XID_ERRORS", "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
)  # fmt: skip
UTIL, COPY, POWER, ENERGY, TEMP, CLOCK, USED, FREE, XID, ENGINE = METRICS
APPS = (("trainer", "research", "llm-pretrain"), ("finetune", "research", "lora"), ("server", "inference", "chat"),
        ("encoder", "inference", "embed"), ("sim", "physics", "lattice"))  # fmt: skip
XID_CODE = 79  # "fallen off the bus": the one that takes every other reading with it

Array = np.ndarray[Any, np.dtype[Any]]


class Model(NamedTuple):
    """A kind of GPU: name, watts idle and full, degrees idle and full, MHz idle and full, MiB."""

    name: str
    watts: tuple[float, float]
    degrees: tuple[float, float]
    clock: tuple[int, int]
    memory: int


MODELS = (
    Model("NVIDIA H100 80GB HBM3", (72.0, 690.0), (27.0, 76.0), (345, 1980), 81_079),
    Model("NVIDIA A100-SXM4-80GB", (58.0, 398.0), (30.0, 71.0), (210, 1410), 81_050),
)


class Entity(NamedTuple):
    """What a row speaks of: a GPU, or a MIG instance of one. `card` numbers the GPUs of the fleet."""

    card: int
    host: int
    gpu_id: int
    uuid: str
    model: Model
    mig: tuple[str, str] | None


def fleet(rng: np.random.Generator, hosts: int, gpus: int) -> list[Entity]:
    """Invent the fleet: every other host has A100s, whose last GPU is split in two; one GPU has no uuid."""
    entities = []
    for card in range(hosts * gpus):
        host, gpu_id = divmod(card, gpus)
        name = f"GPU-{uuid.UUID(bytes=rng.bytes(16), version=4)}"
        if host == 2 % hosts and gpu_id == gpus - 1:
            name = ""  # an exporter that does not give it: the identity is host and gpu_id
        split = host % 2 == 1 and gpu_id == gpus - 1
        for mig in (("1", "3g.40gb"), ("2", "3g.40gb")) if split else (None,):
            entities.append(Entity(card, host, gpu_id, name, MODELS[host % 2], mig))
    return entities


class Load:
    """Jobs that come and go, more by day than by night. Shapes: (entities,)."""

    def __init__(self, rng: np.random.Generator, entities: list[Entity]) -> None:
        self.rng, self.count = rng, len(entities)
        self.holder = min(1, self.count - 1)  # idle, but its notebook never frees the memory
        self.lost = next((i for i, e in enumerate(entities) if e.host == 2), 0)
        self.pods: list[tuple[str, str, str]] = [("", "", "")] * self.count  # container, pod, namespace
        self.pods[self.holder] = ("jupyter", "notebook-ada-0", "research")
        self.target = np.zeros(self.count)
        self.share = np.full(self.count, 0.0001)
        self.share[self.holder] = 0.61
        self.util = np.zeros(self.count)
        self.is_lost = False

    def step(self, day_seconds: float, seconds: float, lose: bool) -> list[int]:
        """Advance by one interval; return the entities whose pod changed."""
        busy = 0.55 + 0.4 * math.sin(2 * math.pi * (day_seconds / 86_400 - 0.375))
        starts, ends = -math.expm1(-seconds * busy / 900), -math.expm1(-seconds / 5_400)
        chance, changed = self.rng.random(self.count).tolist(), []
        for i, (_, pod, _) in enumerate(self.pods):
            if lose and i == self.lost:
                changed += [] if self.is_lost else [i]
                self._idle(i)
            elif i != self.holder and chance[i] < (ends if pod else starts):
                changed.append(i)
                if pod:
                    self._idle(i)
                else:
                    self._start(i)
        self.is_lost = lose
        noise = self.rng.random(self.count) * 16 - 10
        self.util = np.where(self.target > 0, np.clip(self.target + noise, 0, 100), 0.0)
        return changed

    def _start(self, i: int) -> None:
        container, namespace, app = APPS[int(self.rng.integers(len(APPS)))]
        self.pods[i] = (container, f"{app}-{self.rng.bytes(4).hex()}-{self.rng.bytes(2).hex()}", namespace)
        self.target[i] = 55 + 45 * self.rng.random()
        self.share[i] = 0.2 + 0.75 * self.rng.random()

    def _idle(self, i: int) -> None:
        self.pods[i], self.target[i], self.share[i] = ("", "", ""), 0.0, 0.0001


class Sensors:
    """What the instruments show: power, temperature and energy follow the load with inertia."""

    def __init__(self, rng: np.random.Generator, entities: list[Entity]) -> None:
        self.rng = rng
        self.card = np.array([e.card for e in entities])
        first = {e.card: e for e in reversed(entities)}
        models = [first[card].model for card in sorted(first)]
        self.parts = np.bincount(self.card)
        self.watts, self.degrees = np.array([m.watts for m in models]).T, np.array([m.degrees for m in models]).T
        self.clock = np.array([m.clock for m in models]).T
        self.memory = np.array([e.model.memory // (2 if e.mig else 1) for e in entities])
        self.power, self.heat = self.watts[0].copy(), self.degrees[0].copy()
        self.energy = np.floor(rng.random(len(models)) * 9e11)

    def step(self, load: Load, seconds: float) -> dict[str, list[str]]:
        """Advance by one interval; return the text of every metric's values, one per entity."""
        part = np.bincount(self.card, weights=load.util) / self.parts / 100
        before = self.power
        self.power = self.power - math.expm1(-seconds / 8) * (self._between(self.watts, part) - self.power)
        aim = self._between(self.degrees, (self.power - self.watts[0]) / (self.watts[1] - self.watts[0]))
        self.heat = self.heat - math.expm1(-seconds / 90) * (aim - self.heat)
        self.energy = self.energy + np.floor((before + self.power) / 2 * seconds * 1_000)
        shown = self.power + self.rng.random(len(part)) * 3  # the instrument's noise, not the energy's
        clock = np.where(part > 0, self.clock[1] - np.floor(self.rng.random(len(part)) * 4) * 15, self.clock[0])
        used = np.floor(self.memory * load.share).astype(int)
        xid = [0] * load.count
        xid[load.lost] = XID_CODE if load.is_lost else 0
        columns: dict[str, Any] = {
            UTIL: load.util.astype(int).tolist(), COPY: (load.util * 0.45).astype(int).tolist(),
            POWER: [f"{watts:.3f}" for watts in shown[self.card].tolist()],
            ENERGY: self.energy[self.card].astype(int).tolist(), TEMP: self.heat[self.card].astype(int).tolist(),
            CLOCK: clock[self.card].astype(int).tolist(), USED: used.tolist(),
            FREE: (self.memory - used).tolist(), XID: xid,
            ENGINE: [f"{share:.4f}" for share in (load.util * 0.0097).tolist()],
        }  # fmt: skip
        return {name: [str(value) for value in column] for name, column in columns.items()}

    @staticmethod
    def _between(ends: Array, part: Array) -> Array:
        between: Array = ends[0] + (ends[1] - ends[0]) * part
        return between
