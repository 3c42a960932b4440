"""`telemetry serve`: the REST API as a process of its own."""

import logging
from typing import Any

import click

from telemetry import config as c
from telemetry.cli.options import API, LOGS, LOOKING, json_logs_option, options
from telemetry.cli.serving import options_of
from telemetry.cli.wiring import database_url_of, start_logs
from telemetry.runtime.logs import log_event
from webapi.process.server import serve as serve_api

log = logging.getLogger(__name__)


@click.command()
@options(c.DATABASE_URL, *API, c.REDIS_URL, *LOOKING, c.API_WRITER_URL, *LOGS)
@json_logs_option
def serve(as_json: bool, **values: Any) -> int:
    """Answer questions over HTTP: Swagger UI at /swagger, probes at /livez and /readyz, metrics at /metrics.

    The reader's database URL is enough. Starts before its database does, and says so at /readyz. Where others than
    this machine reach it, it wants a file of tokens. With --redis-url it shows the queue too, and replays what died.

    \b
    telemetry serve
    telemetry serve --redis-url redis://queue:6379/0
    telemetry serve --api-host 0.0.0.0 --api-tokens tokens.json
    """
    start_logs({**values, "log_format": "json"} if as_json else values)
    return serve_api(
        database_url=database_url_of(values),
        host=values["api_host"],
        port=values["api_port"],
        workers=values["api_workers"],
        threads=values["api_threads"],
        options=options_of(values),
        ready=lambda host, port: log_event(log, logging.INFO, "serving the API", url=f"http://{host}:{port}"),
    )
