"""A collector process: its workers in threads, watched from the main thread."""

import logging
import threading
from collections.abc import Sequence

from telemetry.broker import FloodBreaker
from telemetry.collector.watch import Watch
from telemetry.collector.worker import Worker
from telemetry.runtime.health import Health
from telemetry.runtime.logs import log_event
from telemetry.runtime.metrics import CollectorMetrics
from telemetry.runtime.stop import Stop

log = logging.getLogger(__name__)

REPORTS = ("database", "queue", "breaker", "draining")
"""What a collector reports. Who is not ready before all of them are there waits until the workers are heard of: that
the servers answered at the start is not enough."""
LOOK_EVERY = 0.5
"""Seconds between looks at the workers."""
STALLED = 60.0
"""Seconds without a turn after which a worker counts as stuck, if no outage explains it; the process is then no longer
live."""

REMEDY = (
    "messages are held, none is dead-lettered. Mend the cause (the schema, a trigger, the version) and they are stored,"
    " without a restart; `telemetry queue dead replay` brings back those that died before. If the messages are bad in"
    " fact, a restart with TELEMETRY_COLLECTOR_BREAKER_SHARE=1 dead-letters them"
)


class Collector:
    """Runs workers until the stop; each has a consumer and a connection of its own."""

    def __init__(
        self,
        *,
        workers: Sequence[Worker],
        breaker: FloodBreaker,
        watch: Watch,
        health: Health,
        metrics: CollectorMetrics,
        stop: Stop,
        stalled: float = STALLED,
    ) -> None:
        self.workers, self.breaker, self.watch, self.stalled = workers, breaker, watch, stalled
        self.health, self.metrics, self.stop = health, metrics, stop
        self._failed = self._told = False

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
        self._look_at_database(all(one.turned_ago < self.stalled for one in status))
        away = [f"{one.name}: {one.why}" for one in status if not one.connected]
        self.health.ready("queue", not away, "; ".join(away))
        self._report_flood(self.breaker.why)
        self.health.ready("draining", not self.stop.is_set(), self.stop.reason)

    def _look_at_database(self, turning: bool) -> None:
        """A worker that waits for a database that is away is not stuck: a restart would only wait at another place.

        It keeps its leases while nobody gets an answer. When its own statement hangs alone, perhaps others fare better.
        """
        away = self.watch.why
        if away:
            for worker in self.workers:
                if worker.waiting:
                    worker.consumer.hold()
        outage = next((why for worker in self.workers if (why := worker.outage or worker.waiting)), away)
        if turning or outage:
            self.health.turned()
        if outage is not None:
            self.health.ready("database", not outage, outage)

    def _report_flood(self, why: str) -> None:
        """At the probe as long as it lasts, and in the log once: `telemetry up` has no probes of collectors."""
        if why and not self._told:
            log_event(log, logging.ERROR, "paused until the cause is mended", what_to_do=REMEDY)
        self._told = bool(why)
        self.metrics.breaker_open.set(bool(why))
        self.health.ready("breaker", not why, f"{why}; {REMEDY}" if why else "")
