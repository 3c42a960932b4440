"""Where the server is: reading a broker URL, and hiding its password.

What lives here: text to `Address`. No connection is made here.

    redis://[user:password@]host[:6379][/db]              rediss:// for TLS
    unix://[user:password@]/path/to/socket[?db=0]
    redis+sentinel://[user:password@]host[:26379][,host..]/master[/db][?sentinel_password=..]    rediss+sentinel://
    redis+cluster://[user:password@]host[:6379][,host..]                                         rediss+cluster://

Options after "?": db, or with TLS ssl_ca_certs, ssl_ca_path, ssl_certfile, ssl_keyfile, ssl_password, ssl_cert_reqs
(none, optional, required), ssl_check_hostname (true, false); unix:// takes username and password; Sentinel takes
sentinel_username and sentinel_password. Whatever else the driver knows would undo what the protocol relies on.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, unquote

from telemetry.broker.errors import BrokerError

Kind = Literal["single", "sentinel", "cluster"]
_SHAPE = re.compile(
    r"(?P<scheme>[a-z+]+)://(?:(?P<login>[^@/]*)@)?(?P<hosts>[^/?#]*)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?"
)
_KINDS: Mapping[str, Kind] = {
    "redis": "single",
    "rediss": "single",
    "unix": "single",
    "redis+sentinel": "sentinel",
    "rediss+sentinel": "sentinel",
    "redis+cluster": "cluster",
    "rediss+cluster": "cluster",
}
_TLS_OPTIONS = frozenset(
    f"ssl_{name}" for name in "ca_certs ca_path certfile keyfile password cert_reqs check_hostname".split()
)
_VALUES = {
    "db": re.compile(r"\d{1,9}"),
    "ssl_cert_reqs": re.compile("none|optional|required"),
    "ssl_check_hostname": re.compile("true|false"),
}
_LOGIN = re.compile(r"(://[^:/?#@]*):.*@")
_SECRETS = re.compile(r"((?:^|[?&])\w*password=)[^&#]*")


@dataclass(frozen=True, slots=True)
class Address:
    """A broker URL, taken apart."""

    url: str = field(repr=False)
    kind: Kind
    nodes: tuple[tuple[str, int], ...]
    tls: bool
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    master: str = ""
    db: int = 0
    path: str = ""
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def safe(self) -> str:
        """The URL as it may be logged."""
        return hide_password(self.url)


def hide_password(url: str) -> str:
    """The URL with every password in it replaced by ***; also when it is no proper URL."""
    return _SECRETS.sub(r"\1***", _LOGIN.sub(r"\1:***@", url))


def parse(url: str) -> Address:
    """Take a broker URL apart.

    Raises:
        BrokerError: when it is none; the message says what one looks like.
    """
    shape = _SHAPE.fullmatch(url)
    if shape is None or shape["scheme"] not in _KINDS:
        known = ", ".join(f"{scheme}://" for scheme in _KINDS)
        raise _refused(url, f"expected one of {known}")
    if "@" in shape["hosts"] + (shape["path"] or ""):
        raise _refused(url, "write @ as %40, / as %2F and : as %3A in the password")
    kind = _KINDS[shape["scheme"]]
    user, _, password = (shape["login"] or "").partition(":")
    options = _options(url, shape["scheme"], shape["query"] or "")
    master, db = _path(url, kind, shape["scheme"], shape["path"] or "")
    nodes = _nodes(url, shape["hosts"], 26379 if kind == "sentinel" else 6379)
    if kind == "single" and len(nodes) > 1:
        raise _refused(url, "name one host, several are for redis+sentinel:// and redis+cluster://")
    return Address(
        url=url,
        kind=kind,
        nodes=nodes,
        tls=shape["scheme"].startswith("rediss"),
        username=unquote(user) or options.pop("username", None),
        password=unquote(password) or options.pop("password", None),
        master=master,
        db=int(options.pop("db", db)),
        path=unquote(shape["path"] or "") if shape["scheme"] == "unix" else "",
        options=options,
    )


def _refused(url: str, why: str) -> BrokerError:
    """The remedy first: whoever masks the text again hides all that may still be the URL's password."""
    return BrokerError(f"{why}; broker URL {hide_password(url)!r}")


def _options(url: str, scheme: str, query: str) -> dict[str, str]:
    """What follows the "?", each name known, each value one that can be used."""
    known = set() if scheme.endswith("cluster") else {"db"}
    if scheme.startswith("rediss"):
        known |= _TLS_OPTIONS
    if scheme == "unix":
        known |= {"username", "password"}
    if scheme.endswith("sentinel"):
        known |= {"sentinel_username", "sentinel_password"}
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known or name in options:
            fault = "given twice" if name in options else "unknown"
            takes = ", ".join(sorted(known)) or "no option"
            raise _refused(url, f"option {name!r} is {fault}; {scheme}:// takes {takes}")
        if name in _VALUES and not _VALUES[name].fullmatch(value):
            raise _refused(url, f"{name}={value} cannot be used")
        options[name] = value
    return options


def _nodes(url: str, hosts: str, port: int) -> tuple[tuple[str, int], ...]:
    nodes = []
    for host in (hosts or "localhost").split(","):
        found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::(\d{1,5}))?", host.strip())
        if found is None:
            raise _refused(url, f"{host!r} is no host[:port]")
        if not 0 < int(found[2] or port) < 1 << 16:
            raise _refused(url, f"{found[2]} is no port")
        nodes.append((found[1].strip("[]"), int(found[2] or port)))
    return tuple(nodes)


def _path(url: str, kind: Kind, scheme: str, path: str) -> tuple[str, int]:
    parts = [unquote(part) for part in path.split("/") if part]
    if scheme == "unix":
        return "", 0
    master = ""
    if kind == "sentinel":
        if not parts:
            raise _refused(url, "name the master, as in redis+sentinel://host/mymaster/0")
        master = parts.pop(0)
    if len(parts) > 1 or (parts and not parts[0].isdecimal()):
        raise _refused(url, f"{path!r} is no database number")
    db = int(parts[0]) if parts else 0
    if kind == "cluster" and db:
        raise _refused(url, "a cluster has database 0 only")
    return master, db
