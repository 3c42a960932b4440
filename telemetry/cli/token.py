"""`telemetry token`: making, listing and revoking the bearer tokens of the API.

What does not live here: what a token is (`webapi.tokens`), how a server follows its file (`webapi.tokenfile`).
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from telemetry import config as c
from telemetry.cli import output
from telemetry.cli.options import Finite, json_option
from telemetry.cli.serving import OFF
from telemetry.config import ConfigError, check_environment, from_environment
from telemetry.embedded.state import write_private
from webapi.security.tokenfile import read_tokens
from webapi.security.tokens import NAME, SCOPES, TOKENS_MAX, BadTokens, Token, new_token, to_text

FILE = "tokens.json"
DAYS_MAX = 36_500


def _file(_context: click.Context, _option: click.Parameter, given: Path | None) -> Path:
    """The file that is worked on, behind symbolic links: replacing one of those would leave the file as it was."""
    check_environment()
    named = from_environment(c.API_TOKENS)[0]
    return (given or Path(named if named and named != OFF else FILE)).expanduser().resolve()


def _name(_context: click.Context, _option: click.Parameter, given: str) -> str:
    if not NAME.fullmatch(given):
        raise click.BadParameter(
            f"{given[:64]!r} is no name: 1 to 64 letters, digits, dots, dashes and underscores, as in grafana-2026."
        )
    return given


file_option = click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_file,
    help=f"The file of tokens. [{c.API_TOKENS.env}, else {FILE} in this folder]",
)
name_argument = click.argument("name", callback=_name)


@click.group()
def token() -> None:
    """Create, list and revoke the API's bearer tokens. A server sees the change within a second or two.

    Only SHA-256 digests are kept: a token is shown once. To replace one: create another, hand it out, revoke the old.

    \b
    telemetry token create grafana                        prints a token of scope read
    telemetry token create ci --scope admin --days 30 --file tokens.json
    telemetry serve --api-tokens tokens.json
    """


@token.command()
@name_argument
@click.option("--scope", type=click.Choice(SCOPES), default="read", show_default=True, help="What it allows.")
@click.option("--days", type=Finite(0, DAYS_MAX, min_open=True), help="Days until it ends. [it does not end]")
@file_option
@json_option
def create(name: str, scope: str, days: float | None, path: Path, as_json: bool) -> None:
    """Make a token and print it, this once; the file gets its digest.

    read asks; write is for sending readings, which the API does not take yet; admin also decides about dead letters.
    """
    now = datetime.now(UTC)
    text, made = new_token(name, scope, created=now, expires=now + timedelta(days=days) if days else None)
    with _locked(path):
        kept = _kept(path) if path.exists() else ()
        if any(one.name == name for one in kept):
            raise click.ClickException(
                f"there is a token {name} already; choose another name: both hold until you revoke the old one"
            )
        if len(kept) >= TOKENS_MAX:
            raise click.ClickException(f"{path} holds {len(kept)} tokens; revoke some first")
        _keep(path, [*kept, made])
    if as_json:
        output.json({**_shown(made, now), "token": text, "file": path})
    else:
        click.echo(text)
        click.echo(f"kept its digest in {path}; use it as in: curl -H 'Authorization: Bearer ...'", err=True)


@token.command(name="list")
@file_option
@json_option
def show(path: Path, as_json: bool) -> None:
    """Names, scopes, times and first characters of all tokens."""
    now = datetime.now(UTC)
    rows = [_shown(one, now) for one in _kept(path)]
    if as_json:
        output.json(rows)
    elif not rows:
        click.echo("no tokens: `telemetry token create NAME` makes one")
    else:
        output.table(list(rows[0]), [list(row.values()) for row in rows])


@token.command()
@name_argument
@file_option
@json_option
def revoke(name: str, path: Path, as_json: bool) -> None:
    """Take a token out of force."""
    with _locked(path):
        kept = _kept(path)
        left = [one for one in kept if one.name != name]
        if len(left) == len(kept):
            raise click.ClickException(f"there is no token {name} in {path}; `telemetry token list` shows them")
        _keep(path, left)
    if as_json:
        output.json({"revoked": name, "left": len(left)})
    else:
        click.echo(f"revoked {name}, {len(left)} left")


def _shown(one: Token, now: datetime) -> dict[str, object]:
    return {
        "name": one.name,
        "scope": one.scope,
        "starts": one.starts,
        "created": one.created,
        "expires": one.expires,
        "valid": not one.expired(now),
    }


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep others from changing the file meanwhile. Its folder is locked, because the file itself is replaced."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"--file {path}: {error.strerror}; name a file in a folder that is there") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _kept(path: Path) -> tuple[Token, ...]:
    try:
        return read_tokens(path)
    except BadTokens as error:
        raise ConfigError(f"--file {error}") from None


def _keep(path: Path, tokens: Sequence[Token]) -> None:
    """Replace the file as a whole, readable by its owner alone: a server never sees half of it."""
    try:
        write_private(path, to_text(tokens))
    except OSError as error:
        raise ConfigError(f"--file {path}: {error.strerror}; nothing was changed") from None
