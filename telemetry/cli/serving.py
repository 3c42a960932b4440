"""The API's options, from settings: who may ask, and from where; where the queue is.

What does not live here: the commands that serve (`api`, `up`), the tokens (`webapi.tokens`).
"""

import socket
from ipaddress import ip_address
from pathlib import Path

from telemetry import config as c
from telemetry.broker import BrokerError
from telemetry.cli.options import Values
from telemetry.config import ConfigError
from telemetry.store.errors import StoreError
from telemetry.store.session import check_url
from webapi.options import ApiOptions, QueuePlace
from webapi.queue.observer import Observer
from webapi.security import origins
from webapi.security.tokenfile import TokenFile
from webapi.security.tokens import BadTokens

OFF, ON = "off", "on"


def tokens_of(values: Values) -> TokenFile | None:
    """The file of tokens that --api-tokens names, read once; None when everybody may ask.

    Raises ConfigError when it cannot be used, or when nothing is said of it and others than this machine could ask.
    """
    named = values["api_tokens"]
    if named and named != OFF:
        file = TokenFile(Path(named).expanduser().absolute())
        try:
            file.open()
        except BadTokens as error:
            raise ConfigError(f"--{c.API_TOKENS.flag} (or {c.API_TOKENS.env}): {error}") from None
        return file
    if not named and not is_loopback(values["api_host"]):
        raise ConfigError(
            f"--{c.API_HOST.flag} {values['api_host']}: others than this machine could ask, and nothing says who may. "
            f"Name a file of tokens with --{c.API_TOKENS.flag} (or {c.API_TOKENS.env}; `telemetry token create NAME` "
            f"makes one), or say --{c.API_TOKENS.flag} {OFF} to let everybody ask"
        )
    return None


def options_of(values: Values) -> ApiOptions:
    """The options of a server. Raises ConfigError as `tokens_of` does."""
    return ApiOptions(
        statement_timeout=values["statement_timeout"],
        export_timeout=values["export_timeout"],
        streams=values["api_streams"],
        tokens=tokens_of(values),
        access_log=values["access_log"] == ON,
        metrics_auth=values["metrics_auth"] == ON,
        cors_origins=origins_of(values),
        local_names=None if values["api_tokens"] else frozenset({values["api_host"]}),
        behind_tls=values["api_behind_tls"] == ON,
        body_max=values["api_body_max"],
        queue=queue_of(values),
        writer_url=writer_url_of(values),
    )


def origins_of(values: Values) -> tuple[str, ...]:
    """The origins of --api-cors-origin. Raises ConfigError when one is none, or every page could do as it likes."""
    try:
        found = origins.origins_of(values["api_cors_origin"] or "")
    except ValueError as error:
        raise ConfigError(f"--{c.API_CORS_ORIGIN.flag} (or {c.API_CORS_ORIGIN.env}): {error}") from None
    if origins.ALL in found and values["api_tokens"] in (None, "", OFF):
        raise ConfigError(
            f"--{c.API_CORS_ORIGIN.flag} {origins.ALL}: any page that a browser here opens could ask, and nobody needs "
            f"a token; name the origins, or a file of tokens with --{c.API_TOKENS.flag}"
        )
    return found


def queue_of(values: Values) -> QueuePlace | None:
    """Where the queue is; None when nothing is said of it. Raises ConfigError when its URL, or a name, is none."""
    if not values["redis_url"]:
        return None
    place = QueuePlace(
        url=values["redis_url"],
        namespace=values["namespace"],
        topic=values["topic"],
        capacity=values["capacity"],
        max_bytes=values["max_bytes"],
    )
    try:
        Observer(place)
    except BrokerError as error:
        raise ConfigError(f"--{c.REDIS_URL.flag} (or {c.REDIS_URL.env}): {error}") from None
    return place


def writer_url_of(values: Values) -> str | None:
    """The database as a writer reaches it, when that is said. Raises ConfigError, which shows nothing of the URL."""
    url: str | None = values["api_writer_url"] or None
    try:
        check_url(url or "")
    except StoreError as error:
        raise ConfigError(f"--{c.API_WRITER_URL.flag} (or {c.API_WRITER_URL.env}) {error}") from None
    return url


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address, or every address that a name stands for."""
    try:
        found = {str(place[4][0]) for place in socket.getaddrinfo(host, None)} if host else set()
        return bool(found) and all(ip_address(address).is_loopback for address in found)
    except (OSError, ValueError):
        return False
