"""Settings as options of commands: the flag, its variable and its help are declared once, in `config`."""

import math
from collections.abc import Callable, Mapping
from functools import reduce, wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from telemetry import config as c
from telemetry.config import ConfigError, Setting, check_environment, from_environment

Values = Mapping[str, Any]
"""What a command gets: the value of each of its options, by the flag with underscores."""

Command = TypeVar("Command", bound=Callable[..., Any])

QUEUE = (c.REDIS_URL, c.NAMESPACE, c.TOPIC, c.CAPACITY, c.MAX_BYTES, c.LEASE, c.MAX_ATTEMPTS)
LOOKING = (c.NAMESPACE, c.TOPIC, c.CAPACITY, c.MAX_BYTES)
"""What the API needs to know of the queue, beside its URL."""
LOGS = (c.LOG_LEVEL, c.LOG_FORMAT)
HEALTH = (c.HEALTH_PORT, c.HEALTH_HOST)
STREAMER = (c.CSV, c.STREAM, c.ONCE, c.TIME, c.RATE, c.BLOCK_ROWS, c.LEDGER_DAYS, c.INDEX_CACHE)
COLLECTOR = (c.WORKERS, c.BATCH_MESSAGES, c.BREAKER_SHARE, c.LINGER, c.RETENTION, c.ROLLUP_RETENTION)
API = (
    *(c.API_HOST, c.API_PORT, c.API_WORKERS, c.API_THREADS, c.API_STREAMS),
    *(c.API_TIMEOUT, c.API_EXPORT_TIMEOUT, c.API_ACCESS_LOG),
    *(c.API_TOKENS, c.API_METRICS_AUTH, c.API_CORS_ORIGIN, c.API_BEHIND_TLS, c.API_BODY_MAX),
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
json_logs_option = click.option("--json", "as_json", is_flag=True, help="Log JSON lines, as --log-format json does.")


def options(*settings: Setting) -> Callable[[Command], Command]:
    """A decorator that gives a command these settings as options, in this order.

    The command does not begin while a variable TELEMETRY_* is no setting; its --help does.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def checked(*args: Any, **values: Any) -> Any:
            check_environment()
            return command(*args, **values)

        return reduce(lambda done, setting: _option(setting)(done), reversed(settings), cast(Command, checked))

    return decorate


def need(values: Values, setting: Setting) -> Any:
    """The value of a setting that has no default; ConfigError names flag and variable."""
    value = values[setting.flag.replace("-", "_")]
    if value is None or value == "":
        raise ConfigError(f"--{setting.flag} (or {setting.env}) is missing. {setting.help}")
    return value


def _option(setting: Setting) -> Callable[[Command], Command]:
    flag = f"--{setting.flag}"
    if setting.kind is bool:
        return click.option(
            "--once/--loop", default=setting.default, envvar=setting.env, show_envvar=True, help=setting.help
        )
    if setting.secret:
        return click.option(flag, default=lambda: from_environment(setting)[0], help=f"{setting.help} [{setting.env}]")
    return click.option(
        flag,
        type=_type(setting),
        default=setting.default,
        envvar=setting.env,
        show_envvar=True,
        show_default=setting.default is not None,
        help=setting.help,
    )


def _type(setting: Setting) -> click.ParamType[Any]:
    if setting.choices:
        return click.Choice(setting.choices)
    if setting.kind is int:
        return click.IntRange(_whole(setting.least), _whole(setting.most))
    if setting.kind is float:
        return Finite(setting.least, setting.most)
    return click.Path(path_type=Path) if setting.kind is Path else click.STRING


class Finite(click.FloatRange):
    """A number in a range; nan and inf are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number. Raises click.BadParameter."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number


def _whole(bound: float | None) -> int | None:
    return None if bound is None else int(bound)
