"""What an app's scrapes need, tied to it: connections of their own, so that a crowd of questions hides nothing.

What does not live here: what is looked at (`observed`, `telemetry.store.questions.current`), answers (`webapi.probes`,
`gpus`).
"""

from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app

from telemetry.store.pool import Pool
from telemetry.store.questions.current import Current
from webapi.options import ApiOptions
from webapi.queue.observer import Observer
from webapi.scraped.kept import Kept
from webapi.scraped.observed import Observed
from webapi.scraped.page import PATIENCE, Page

MOST = 100_000
"""Series that are shown: 2,000 GPUs with 50 metrics each."""
CONNECTIONS = 2
"""One for the numbers of the database, one for the GPUs."""

_EXTENSION = "telemetry_scrapes"


@dataclass(frozen=True)
class Scrapes:
    """An app's."""

    pool: Pool
    observed: Observed
    page: Page
    kept: Kept


def attach(app: Flask, *, url: str, options: ApiOptions, observer: Observer) -> None:
    """Let this app be scraped. Connects to nothing, and starts nothing, before it is."""
    pool = Pool(
        url=url,
        name="telemetry-api-scrape",
        size=CONNECTIONS,
        wait=options.connection_wait,
        lock_timeout=options.lock_wait,
        statement_timeout=min(options.statement_timeout, PATIENCE),
        connect_timeout=options.connect_timeout,
    )
    observed = Observed(observer=observer if options.queue else None, pool=pool)
    app.extensions[_EXTENSION] = Scrapes(pool, observed, Page(Current(pool=pool, most=MOST)), Kept())


def scrapes() -> Scrapes:
    """Those of the app that answers the current request."""
    return cast(Scrapes, current_app.extensions[_EXTENSION])


def close(app: Flask) -> None:
    """Close the connections."""
    cast(Scrapes, app.extensions[_EXTENSION]).pool.close()
