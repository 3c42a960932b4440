"""Every setting once: its variable, type, default and help. The only room that looks at the environment.

A flag wins over the environment, the environment over the default; a secret may also stand in the file that
`<VARIABLE>_FILE` names. A variable `TELEMETRY_*` that is no setting is an error, so that a typing mistake does not pass
for a default.
"""

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

PREFIX = "TELEMETRY_"
LAST_PORT = 65_535


class ConfigError(Exception):
    """Raised when a setting has no usable value; the text names it and the remedy."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `flag` is its option without the dashes; `kind` is what its text is turned into."""

    flag: str
    env: str
    kind: type[str] | type[int] | type[float] | type[Path] | type[bool]
    default: str | int | float | bool | None
    help: str
    secret: bool = False
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None


def _s(flag: str, env: str, kind: type, default: str | int | float | bool | None, help: str, **more: object) -> Setting:
    return Setting(flag, PREFIX + env, kind, default, help, **more)  # type: ignore[arg-type]  # keywords of Setting


DATABASE_URL = _s(
    "database-url", "DATABASE_URL", str, None, "PostgreSQL or TimescaleDB: postgresql://user@host:5432/db.", secret=True
)
REDIS_URL = _s(
    "redis-url",
    "REDIS_URL",
    str,
    None,
    "Redis or Valkey: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://.",
    secret=True,
)
NAMESPACE = _s("namespace", "QUEUE_NAMESPACE", str, "gpu", "First part of every key of the queue.")
TOPIC = _s("topic", "QUEUE_TOPIC", str, "samples", "Name of the queue.")
CAPACITY = _s("capacity", "QUEUE_CAPACITY", int, 500, "Messages the queue takes before streamers wait.", least=1)
MAX_BYTES = _s(
    "max-bytes",
    "QUEUE_MAX_BYTES",
    int,
    1 << 20,
    "Bytes of the largest message; times capacity = memory.",
    least=2048,
    most=256 << 20,
)
LEASE = _s(
    "lease",
    "QUEUE_LEASE",
    float,
    15.0,
    "Seconds without a sign of life until work is taken over.",
    least=0.5,
    most=3_600,
)
MAX_ATTEMPTS = _s("max-attempts", "QUEUE_MAX_ATTEMPTS", int, 5, "Deliveries until a message is dead.", least=1)

LOG_LEVEL = _s(
    "log-level", "LOG_LEVEL", str, "info", "How much is logged.", choices=("debug", "info", "warning", "error")
)
LOG_FORMAT = _s("log-format", "LOG_FORMAT", str, "text", "key=value text, or JSON lines.", choices=("text", "json"))
HEALTH_PORT = _s(
    "health-port",
    "HEALTH_PORT",
    int,
    None,
    "Serve /livez /readyz /metrics here; 0 picks a free port.",
    least=0,
    most=LAST_PORT,
)
HEALTH_HOST = _s("health-host", "HEALTH_HOST", str, "127.0.0.1", "Address of the health port.")

CSV = _s("csv", "STREAMER_CSV", Path, None, "CSV export to read.")
STREAM = _s("stream", "STREAMER_STREAM", str, None, "Name of the stream. Another name reads anew. [csv]")
ONCE = _s("once", "STREAMER_ONCE", bool, False, "Read the file once and end when all is settled; or loop forever.")
TIME = _s(
    "time",
    "STREAMER_TIME",
    str,
    "now",
    "Stamp readings with the time they are read, or keep the file's own.",
    choices=("now", "source"),
)
RATE = _s(
    "rate", "STREAMER_RATE", float, None, "Rows per second of one streamer, 0 = no limit. [5000; --once: 0]", least=0
)
BLOCK_ROWS = _s(  # at most what is read and encoded well within the reservation's 3 s, renewed only while waiting
    "block-rows", "STREAMER_BLOCK_ROWS", int, 5_000, "Readings per message, at most.", least=1, most=50_000
)
LEDGER_DAYS = _s(
    "ledger-days", "STREAMER_LEDGER_DAYS", float, 7.0, "Days until settled ledger rows become sums; 0 = never.", least=0
)
INDEX_CACHE = _s(
    "index-cache",
    "STREAMER_INDEX_CACHE",
    str,
    None,
    "Folder for the indexes of large files, which this machine's streamers share; off = none. [~/.cache/telemetry]",
)

WORKERS = _s("workers", "COLLECTOR_WORKERS", int, 1, "Threads, each with a connection of its own.", least=1, most=64)
BATCH_MESSAGES = _s(
    "batch-messages", "COLLECTOR_BATCH_MESSAGES", int, 16, "Messages per transaction, at most.", least=1, most=1_000
)
BREAKER_SHARE = _s(
    "breaker-share",
    "COLLECTOR_BREAKER_SHARE",
    float,
    0.75,
    "Share of the last 20 messages that, refused, makes a collector hold them instead of dead-lettering; 1 = never.",
    least=0.5,
    most=1,
)
LINGER = _s("linger", "COLLECTOR_LINGER", float, 0.2, "Seconds to wait for more messages.", least=0, most=60)
RETENTION = _s(
    "retention", "RETENTION", str, "auto", "Days until readings go; none = never; auto = 7, but --time source stays."
)
ROLLUP_RETENTION = _s(
    "rollup-retention", "ROLLUP_RETENTION", str, "none", "Days until rollups go, no fewer than readings; none = never."
)

API_HOST = _s("api-host", "API_HOST", str, "127.0.0.1", "Address the API listens on.")
API_PORT = _s("api-port", "API_PORT", int, 8080, "Port of the API; 0 picks a free one.", least=0, most=LAST_PORT)
API_WORKERS = _s("api-workers", "API_WORKERS", int, 2, "Worker processes of the API.", least=1)
API_THREADS = _s("api-threads", "API_THREADS", int, 4, "Requests that a worker process works on at a time.", least=1)
API_STREAMS = _s(
    "api-streams",
    "API_STREAMS",
    int,
    16,
    "Live streams that a worker process keeps open at a time, beside requests; 0 = none.",
    least=0,
    most=500,
)
API_TIMEOUT = _s(
    "statement-timeout", "API_STATEMENT_TIMEOUT", float, 10.0, "Seconds one query may take.", least=0.1, most=3_600
)
API_EXPORT_TIMEOUT = _s(
    "export-timeout",
    "API_EXPORT_TIMEOUT",
    float,
    600.0,
    "Seconds that a whole range as CSV or NDJSON may take.",
    least=0.1,
    most=86_400,
)
API_TOKENS = _s(
    "api-tokens",
    "API_TOKENS",
    str,
    None,
    "File of the bearer tokens that may ask (`telemetry token create`); off = everybody may. [off where only this "
    "machine reaches the API, else needed]",
)
API_WRITER_URL = _s(
    "api-writer-url",
    "API_WRITER_URL",
    str,
    None,
    "Database URL of a writer, for what the API's reader may not do: replaying rows that no streamer could publish.",
    secret=True,
)
API_ACCESS_LOG = _s(
    "access-log",
    "API_ACCESS_LOG",
    str,
    "off",
    "Whether each request is a line in the log, with its id, status and seconds.",
    choices=("off", "on"),
)
API_METRICS_AUTH = _s(
    "metrics-auth", "API_METRICS_AUTH", str, "off", "Whether /metrics needs a token too.", choices=("off", "on")
)
API_CORS_ORIGIN = _s(
    "api-cors-origin",
    "API_CORS_ORIGIN",
    str,
    None,
    "Origins whose pages may ask, with commas between: https://grafana.example.org; * = all. [none]",
)
API_BEHIND_TLS = _s(
    "api-behind-tls",
    "API_BEHIND_TLS",
    str,
    "off",
    "Whether clients come by HTTPS, through a proxy: browsers then stay with it.",
    choices=("off", "on"),
)
API_BODY_MAX = _s(
    "api-body-max", "API_BODY_MAX", int, 8 << 20, "Bytes of a request's body, at most.", least=1_024, most=1 << 30
)

MIGRATE_WRITER_URL = _s(
    "writer-url",
    "MIGRATE_WRITER_URL",
    str,
    None,
    "Database URL of streamers and collectors, whose user gets this login and the writer's rights. [none is made]",
    secret=True,
)
MIGRATE_READER_URL = _s(
    "reader-url",
    "MIGRATE_READER_URL",
    str,
    None,
    "Database URL of the API, whose user gets this login and the reader's rights. [none is made]",
    secret=True,
)

STATE = _s("state", "STATE", Path, None, "Folder of the embedded servers. [.telemetry in this folder]")
EMBEDDED_PG_BIN = _s(
    "embedded-pg-bin", "EMBEDDED_PG_BIN", Path, None, "bin folder of another PostgreSQL to run (one with TimescaleDB)."
)
STREAMERS = _s("streamers", "UP_STREAMERS", int, 1, "Streamer processes.", least=0, most=64)
COLLECTORS = _s("collectors", "UP_COLLECTORS", int, 1, "Collector processes.", least=0, most=64)

SETTINGS: tuple[Setting, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Setting))
"""All of them, in the order of the README's table."""

_BY_ENV: Mapping[str, Setting] = MappingProxyType({setting.env: setting for setting in SETTINGS})


def environment() -> Mapping[str, str]:
    """The process's environment, for those who start processes."""
    return os.environ


def spare_threads() -> None:
    """Keep numpy from starting a thread per processor for algebra that nobody does here; before numpy is read.

    Each of them turns idly for a tenth of a second of processor time at the start of every process. A value that
    somebody set stays.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def check_environment(environ: Mapping[str, str] | None = None) -> None:
    """ConfigError when a variable TELEMETRY_* is no setting; it names the nearest one."""
    names = os.environ if environ is None else environ
    known = set(_BY_ENV) | {f"{setting.env}_FILE" for setting in SETTINGS if setting.secret}
    for name in sorted(names):
        if name.startswith(PREFIX) and name not in known:
            near = _nearest(name, sorted(known))
            hint = f"did you mean {near}?" if near else "`telemetry config` lists them."
            if names[name].startswith("tcp://") or name.endswith(("_SERVICE_HOST", "_SERVICE_PORT")):
                hint = "Kubernetes set it for a Service; set enableServiceLinks: false on the pod."
            raise ConfigError(f"{name} is no setting; {hint}")


def from_environment(setting: Setting, environ: Mapping[str, str] | None = None) -> tuple[str | None, str]:
    """(text, where it was found) of a setting: its variable, or for a secret the file that <VARIABLE>_FILE names."""
    names = os.environ if environ is None else environ
    if names.get(setting.env):
        return names[setting.env], setting.env
    file = names.get(f"{setting.env}_FILE", "") if setting.secret else ""
    if not file:
        return None, "default"
    try:
        text = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not text"
        raise ConfigError(f"{setting.env}_FILE: {file}: {reason}; name a file that holds the value") from None
    if not text:
        raise ConfigError(f"{setting.env}_FILE: {file} is empty; name a file that holds the value")
    return text, f"{setting.env}_FILE"


def cache_folder(environ: Mapping[str, str] | None = None) -> Path | None:
    """Where what can be made again is kept for this user (XDG Base Directory); None for who has no home."""
    names = os.environ if environ is None else environ
    places = Path(names.get("XDG_CACHE_HOME", "")), Path(names.get("HOME", ""), ".cache")
    return next((place / "telemetry" for place in places if place.is_absolute()), None)


def _nearest(name: str, known: Sequence[str]) -> str | None:
    """The setting that was meant: the same name without its role (TELEMETRY_RATE), or nearly the same letters."""
    rest = name.removeprefix(PREFIX)
    ends = [one for one in known if one.endswith(f"_{rest}")]
    letters = difflib.get_close_matches(rest, [one.removeprefix(PREFIX) for one in known], 1, 0.7)
    return next(iter([*ends, *(f"{PREFIX}{one}" for one in letters)]), None)
