"""What the API's /metrics says of the queue and of the database: each is looked at once per scrape, both together.

What does not live here: the names and their meaning (`telemetry.runtime.measures`), looks that hang (`glance`).
"""

from telemetry.broker import TopicStats
from telemetry.store.pool import Pool
from telemetry.store.questions.standing import Standing, standing
from webapi.queue.observer import Observer
from webapi.scraped.glance import Glance

PATIENCE = 2.5
"""Seconds for both looks: Prometheus gives a scrape ten, or as many as lie between two of them."""

HEARD = 60.0
"""Seconds for which a consumer counts as alive. One that lives gives a sign every 15 s at least, whatever its lease."""

_QUEUE = "telemetry_queue_"
_STORE = "telemetry_store_"


class Observed:
    """Looks at the database, and at the queue, where there is one."""

    def __init__(self, *, observer: Observer | None, pool: Pool) -> None:
        self._database = Glance("database", lambda: standing(pool), patience=PATIENCE)
        self._queue = Glance("queue", lambda: _stats(observer), patience=PATIENCE) if observer else None

    def values(self) -> dict[str, float]:
        """Values by the names of `measures`; of what is away, only that it is."""
        database = self._database.ask()
        queue = self._queue.ask() if self._queue else None
        found: dict[str, float] = {}
        if queue is not None:
            stats = queue()
            found |= {"telemetry_redis_up": float(stats is not None), **(_of_queue(stats) if stats else {})}
        stands = database()
        return found | {"telemetry_database_up": float(stands is not None), **(_of_store(stands) if stands else {})}


def _stats(observer: Observer) -> TopicStats:
    with observer.topic() as topic:
        return topic.stats()


def _of_queue(stats: TopicStats) -> dict[str, float]:
    """What the server could not tell is left out."""
    told = {
        "depth_messages": stats.depth,
        "depth_rows": stats.depth_rows,
        "waiting_messages": stats.waiting,
        "waiting_rows": stats.waiting_rows,
        "in_flight_messages": stats.in_flight,
        "in_flight_rows": stats.in_flight_rows,
        "capacity_messages": stats.capacity,
        "oldest_age_seconds": stats.oldest_age or 0.0,
        "consumers": stats.heard(within=HEARD),
        "consumer_idle_seconds": max((one.idle for one in stats.consumers), default=None),
        "dead_letters": stats.dead_letters,
        "memory_bytes": stats.memory_bytes,
        "published_messages_total": stats.published,
        "published_rows_total": stats.published_rows,
        "acked_messages_total": stats.acked,
        "acked_rows_total": stats.acked_rows,
        "dead_messages_total": stats.dead,
        "dead_rows_total": stats.dead_rows,
        "redelivered_messages_total": stats.redelivered,
        "backpressure_seconds_total": stats.backpressure_seconds,
    }
    return {_QUEUE + name: float(value) for name, value in told.items() if value is not None}


def _of_store(found: Standing) -> dict[str, float]:
    told = {
        "gpus": found.gpus,
        "newest_reading_age_seconds": found.newest_reading_age,
        "gpus_ahead": found.gpus_ahead,
        "unsettled_blocks": found.unsettled_blocks,
        "oldest_unsettled_age_seconds": max(0.0, found.oldest_unsettled_age or 0.0),
        "dead_blocks": found.dead_blocks,
        "dead_rows": found.dead_rows,
    }
    return {_STORE + name: float(value) for name, value in told.items() if value is not None}
