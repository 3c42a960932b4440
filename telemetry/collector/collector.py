"""A collector process: its workers in threads, watched from the main thread."""

import logging
import threading
from collections.abc import Sequence

from telemetry.collector.watch import Watch
from telemetry.collector.worker import Worker
from telemetry.runtime.health import Health
from telemetry.runtime.logs import log_event
from telemetry.runtime.stop import Stop

log = logging.getLogger(__name__)

LOOK_EVERY = 0.5
"""Seconds between looks at the workers."""
STALLED = 60.0
"""Seconds without a turn after which a worker counts as stuck; the process is then no longer live."""


class Collector:
    """Runs workers until the stop; each has a consumer and a connection of its own."""

    def __init__(self, *, workers: Sequence[Worker], watch: Watch, health: Health, stop: Stop) -> None:
        self.workers, self.watch, self.health, self.stop = workers, watch, health, stop
        self._failed = False

    def run(self) -> bool:
        """Work until the stop and drain; False when a worker failed in a way that is a fault of ours."""
        threads = [
            threading.Thread(target=self._work, args=(worker,), name=f"worker-{number}")
            for number, worker in enumerate(self.workers)
        ]
        with self.watch:
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                self._look()
                if self.stop.wait(LOOK_EVERY):
                    for thread in threads:
                        thread.join(LOOK_EVERY)
        return not self._failed

    def _work(self, worker: Worker) -> None:
        try:
            worker.run()
        except BaseException:
            self._failed = True
            log_event(log, logging.CRITICAL, "a worker failed, stopping", exc_info=True)
            self.stop.set("a worker failed")

    def _look(self) -> None:
        status = [worker.consumer.status for worker in self.workers]
        if all(one.turned_ago < STALLED for one in status):
            self.health.turned()
        away = [one.name for one in status if not one.connected]
        self.health.ready("queue", not away, f"not connected: {', '.join(away)}" if away else "")
        outage = next((worker.outage for worker in self.workers if worker.outage), self.watch.why)
        if outage is not None:
            self.health.ready("database", not outage, outage)
        self.health.ready("draining", not self.stop.is_set(), self.stop.reason)
