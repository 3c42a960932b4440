"""What `telemetry up` runs on this machine: servers, and role processes with what each is told.

What lives here: command lines, environments, addresses. What does not: the order of things and the display (`up`).
"""

import re
import shlex
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from telemetry import config as c
from telemetry.cli.options import API, COLLECTOR, LOOKING, STREAMER, Values
from telemetry.cli.wiring import database_url_of
from telemetry.config import PREFIX, ConfigError, Setting, environment
from telemetry.embedded import ChildSpec, EmbeddedPostgres, EmbeddedRedis, Supervisor
from telemetry.embedded.state import write_private
from telemetry.runtime.logs import mask_secrets

STREAMERS_FIRST, THEN_COLLECTORS, THEN_API = 0, 1, 2
"""The order of draining: nothing new comes in, what is in hand is finished, questions are answered to the last."""

ROOT = Path(__file__).parents[2]
_WORD = re.compile(r"\s*\bpassword\s*=\s*('(?:[^'\\]|\\.)*'|\S+)")
COUNT = "-c 'SELECT count(*) FROM telemetry'"


@dataclass(frozen=True, slots=True)
class Database:
    """The database as each role reaches it. `kind` and `psql` are for a person.

    `writing` and `reading` are variables that tell a child process where it is, without a password among them.
    """

    owner: str
    reader: str
    writing: Mapping[str, str]
    reading: Mapping[str, str]
    kind: str
    psql: str


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue. `variables` tell a child process where it is, without its password among them."""

    url: str
    shown: str
    variables: Mapping[str, str]
    kind: str
    cli: str


def start_database(supervisor: Supervisor, state: Path, values: Values) -> Database:
    """The database of --database-url, or the embedded one, started."""
    if values["database_url"]:
        url = database_url_of(values)
        psql = f"psql {shlex.quote(without_password(url))} {COUNT}"
        told = _by_file(state / c.DATABASE_URL.flag, c.DATABASE_URL, url)
        return Database(owner=url, reader=url, writing=told, reading=told, kind="external", psql=psql)
    bin_dir = values["embedded_pg_bin"]
    server = EmbeddedPostgres(state, bin_dir=bin_dir and bin_dir.expanduser())
    supervisor.start_server(server)
    reader = server.url(server.reader, passfile=True)
    return Database(
        owner=server.url(server.owner, passfile=True),
        reader=reader,
        writing={c.DATABASE_URL.env: server.url(server.writer, passfile=True)},
        reading={c.DATABASE_URL.env: reader},
        kind=server.kind,
        psql=f"{server.psql_command()} {COUNT}",
    )


def start_queue(supervisor: Supervisor, state: Path, values: Values, stream_key: str) -> Queue:
    """The queue of --redis-url, or the embedded one, started."""
    url = values["redis_url"]
    if url:
        told = _by_file(state / c.REDIS_URL.flag, c.REDIS_URL, url)
        cli = _redis_cli(url, stream_key)
        return Queue(url=url, shown=mask_secrets(url), variables=told, kind="external", cli=cli)
    server = EmbeddedRedis(state)
    supervisor.start_server(server)
    file = server.folder / "url"
    variables = _by_file(file, c.REDIS_URL, server.url(password=True))
    if command := server.cli_command():
        cli = f"{command} XLEN {shlex.quote(stream_key)}"
    else:
        command = shlex.join([sys.executable, "-m", "telemetry", "queue", "stats"])
        cli = f"{c.REDIS_URL.env}_FILE={shlex.quote(str(file))} {command}"
    return Queue(url=server.url(password=True), shown=server.url(), variables=variables, kind=server.kind, cli=cli)


def look_inside(state: Path, database: Database, queue: Queue) -> str:
    """A command that runs `telemetry verify` against these servers, as every other command can be run.

    A subshell reads the file of variables, so that they do not follow a person into the next `up`.
    """
    told = {**database.writing, **queue.variables, "PATH": f"{Path(sys.executable).parent}:$PATH"}
    file = state / "env"
    quoted = {name: f'"{value}"' if name == "PATH" else shlex.quote(value) for name, value in told.items()}
    write_private(file, "".join(f"export {name}={value}\n" for name, value in quoted.items()))
    return f"(. {shlex.quote(str(file))} && telemetry verify)"


def _by_file(file: Path, setting: Setting, url: str) -> dict[str, str]:
    """The variable that tells a child a URL by a private file: an environment is shown by more than its process."""
    write_private(file, url)
    return {f"{setting.env}_FILE": str(file)}


def without_password(url: str) -> str:
    """A URL as a command line may show it: the client asks for what is missing, or knows it from its own settings."""
    if "://" not in url:
        return _WORD.sub("", url)
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    query = "&".join(pair for pair in parts.query.split("&") if not pair.lower().startswith("password="))
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}{at}{host}", query=query))


def _redis_cli(url: str, stream_key: str) -> str:
    """redis-cli for a URL that it understands; it asks for the password. Ours for Sentinel, Cluster and sockets."""
    if urlsplit(url).scheme not in ("redis", "rediss"):
        return shlex.join([sys.executable, "-m", "telemetry", "queue", "stats", f"--{c.REDIS_URL.flag}", "..."])
    plain = without_password(url)
    asking = "" if plain == url else " --askpass"
    return f"redis-cli -u {shlex.quote(plain)}{asking} XLEN {shlex.quote(stream_key)}"


def children(values: Values, database: Database, queue: Queue, csv: Path, api_port: int | None) -> list[ChildSpec]:
    """The role processes: streamers, collectors, and the API when it has a port."""
    shared = (c.NAMESPACE, c.TOPIC, c.CAPACITY, c.MAX_BYTES, c.LEASE, c.MAX_ATTEMPTS, c.LOG_LEVEL, c.LOG_FORMAT)
    told = {**values, "csv": csv}
    streaming = _environment(told, (*STREAMER, *shared), {**database.writing, **queue.variables})
    collecting = _environment(told, (*shared, *COLLECTOR), {**database.writing, **queue.variables})
    serving = _environment(
        {**told, "api_port": api_port},
        (c.LOG_LEVEL, c.LOG_FORMAT, *LOOKING, *API),
        {**database.reading, **queue.variables},
    )
    streamers, collectors = _names(values)
    told_each = _probed(values)
    specs = [
        *(
            ChildSpec(name, _argv("stream"), streaming | told_each[name], order=STREAMERS_FIRST, once=values["once"])
            for name in streamers
        ),
        *(
            ChildSpec(
                name,
                _argv("collect"),
                collecting | told_each[name],
                order=THEN_COLLECTORS,
                grace=values["lease"] + 5,
            )
            for name in collectors
        ),
    ]
    if api_port is not None:
        specs.append(ChildSpec("api", _argv("serve"), serving, order=THEN_API))
    return specs


def health_ports(values: Values) -> dict[str, int]:
    """Where each streamer and collector answers probes and scrapes: --health-port, and on from there; 0 for all if 0.

    Raises ConfigError when there are not so many ports.
    """
    first, names = values["health_port"], [name for names in _names(values) for name in names]
    if first is None:
        return {}
    if first and first + len(names) - 1 > c.LAST_PORT:
        raise ConfigError(
            f"--{c.HEALTH_PORT.flag} {first}: {len(names)} processes need a port each; choose one up to "
            f"{c.LAST_PORT - len(names) + 1}, or 0 for free ones"
        )
    return {name: first and first + number for number, name in enumerate(names)}


def _names(values: Values) -> tuple[list[str], list[str]]:
    """Of the streamers and of the collectors."""
    streamers, collectors = (
        [f"{role}-{number + 1}" for number in range(values[f"{role}s"])] for role in ("streamer", "collector")
    )
    return streamers, collectors


def _probed(values: Values) -> dict[str, dict[str, str]]:
    """By process, the variables that tell it where to answer probes and scrapes."""
    ports, host = health_ports(values), {c.HEALTH_HOST.env: values["health_host"]}
    told = {name: {**host, c.HEALTH_PORT.env: str(port)} for name, port in ports.items()}
    return {name: told.get(name, {}) for names in _names(values) for name in names}


@contextmanager
def free_port(host: str, wanted: int, setting: Setting = c.API_PORT) -> Iterator[int]:
    """`wanted` when it can be bound, for 0 a free one. ConfigError when it is taken, which names the setting.

    On Linux it is nobody else's until the end of the `with`: who is to listen there comes seconds later, and meanwhile
    whoever asks for any free port could be given this one. It may listen there beside us, because we do not.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, wanted))
        except OSError as error:
            raise ConfigError(
                f"--{setting.flag} {wanted}: {error.strerror}; choose another port, or 0 for a free one"
            ) from None
        port = int(probe.getsockname()[1])
        if sys.platform != "linux":  # a Mac lets nobody bind what is bound
            probe.close()
        yield port


def address(host: str, port: int) -> str:
    """The URL of the API as this machine reaches it."""
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  all addresses: this one is among them
    return f"http://[{near}]:{port}" if ":" in near else f"http://{near}:{port}"


def answers(url: str) -> bool:
    """Whether an HTTP server is there by now."""
    place = urlsplit(url)
    try:
        with closing(HTTPConnection(place.hostname or "", place.port, timeout=1.0)) as connection:
            connection.request("GET", "/livez")
            return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False


def _argv(command: str) -> tuple[str, ...]:
    # Elsewhere than in the clone nothing of the working directory may be imported in place of a module (-P).
    safe = () if Path.cwd() == ROOT else ("-P",)
    return (sys.executable, *safe, "-m", "telemetry", command)


def _environment(values: Values, settings: Sequence[Setting], addresses: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a child: this process's without our settings, then what it is told."""
    inherited = {name: value for name, value in environment().items() if not name.startswith(PREFIX)}
    told = {
        setting.env: str(value)
        for setting in settings
        if (value := values.get(setting.flag.replace("-", "_"))) is not None
    }
    return {**inherited, **told, **addresses}
