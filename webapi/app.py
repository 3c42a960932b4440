"""The app, put together. A new noun is a file with a `blueprint`, and one name in NOUNS."""

from functools import partial

from flask import Flask

from telemetry.runtime.metrics import ApiMetrics
from telemetry.store.pool import Pool
from telemetry.store.questions.reader import Reader
from telemetry.store.session import check_url
from webapi import contract, docs, probes, problems, requests
from webapi.bodies import compress, exports
from webapi.fleet import questions as fleet
from webapi.live import stream
from webapi.nouns import fleet_telemetry, gpus, inventory, latest, metrics, telemetry, top
from webapi.options import ApiOptions
from webapi.process.crowd import Crowd
from webapi.queue import dead
from webapi.queue import problems as queueproblems
from webapi.queue import state as queue
from webapi.queue.observer import Observer
from webapi.scraped import counting, scrapes
from webapi.scraped import gpus as scraped_gpus
from webapi.security import auth, origins
from webapi.services import Services, services

NOUNS = (
    gpus.blueprint,
    inventory.blueprint,
    latest.blueprint,
    telemetry.blueprint,
    fleet_telemetry.blueprint,
    top.blueprint,
    metrics.blueprint,
    fleet.blueprint,
    queue.blueprint,
    dead.blueprint,
    stream.blueprint,
    probes.blueprint,
    scraped_gpus.blueprint,
)


def create_app(*, database_url: str, options: ApiOptions | None = None) -> Flask:
    """The WSGI app. Connects to nothing until it is asked, so the database may come later, or come back.

    Raises StoreError when `database_url`, or that of a writer, is no URL of PostgreSQL, BrokerError when the queue's is
    no broker URL.
    """
    check_url(database_url)
    options = options or ApiOptions()
    if options.writer_url is not None:
        check_url(options.writer_url)
    app = requests.App(__name__, static_folder=None)
    app.url_map.merge_slashes = False  # a path with one too many is not there; werkzeug would redirect, in HTML
    app.config.update(contract.CONFIG)
    counts, observer = counting.measure(app, options), Observer(options.queue)
    pool = _pool(database_url, options, counts)
    Services(reader=Reader(pool=pool), options=options, observer=observer).attach(app)
    scrapes.attach(app, url=database_url, options=options, observer=observer)
    stream.attach(app, url=database_url, options=options, counts=counts)
    requests.register(app)
    compress.register(app)
    exports.attach(app, options.requests)
    origins.register(app)
    auth.register(app)
    requests.limit(app)
    problems.register(app)
    queueproblems.register(app)
    probes.watch(app, patience=options.connection_wait + probes.PATIENCE)
    api = contract.Api(app)
    for noun in NOUNS:
        api.register_blueprint(noun)
    app.register_blueprint(docs.blueprint)
    if options.requests is not None:
        known = partial(auth.is_known, options=options)  # strangers take nobody's place
        crowd = Crowd(app.wsgi_app, options.requests, known, options.crowd_wait)
        app.wsgi_app = crowd  # type: ignore[method-assign]  # Flask's way to wrap it
    return app


def _pool(url: str, options: ApiOptions, counts: ApiMetrics) -> Pool:
    """The connections of questions."""
    return Pool(
        url=url,
        size=options.connections,
        wait=options.connection_wait,
        lock_timeout=options.lock_wait,
        statement_timeout=options.statement_timeout,
        export_timeout=options.export_timeout,
        connect_timeout=options.connect_timeout,
        lent=counts.connections_in_use.set,
        missed=counts.connection_timeouts.inc,
    )


def close(app: Flask) -> None:
    """Close the app's connections to the database and the queue."""
    stream.close(app)
    scrapes.close(app)
    with app.app_context():
        services().reader.pool.close()
        services().observer.close()
