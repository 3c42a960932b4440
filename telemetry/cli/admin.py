"""`telemetry migrate`, `verify`, `prune` and `config`."""

import logging
import time
from typing import Any

import click

from telemetry import config as c
from telemetry.cli import output
from telemetry.cli.options import LOGS, Finite, Values, json_option, options
from telemetry.cli.wiring import session_of, start_logs
from telemetry.config import SETTINGS, ConfigError, check_environment, from_environment
from telemetry.runtime.logs import log_event, mask_secrets
from telemetry.store.accounts import Accounts
from telemetry.store.errors import StoreDenied, StoreError, StoreUnavailable
from telemetry.store.logins import READER, WRITER, check_login
from telemetry.store.pruning import FRESH, Pruning
from telemetry.store.schema import check_migrated
from telemetry.store.schema import migrate as migrate_schema

log = logging.getLogger(__name__)

MIGRATE_LOCK_TIMEOUT = 5.0
DAY = 86_400.0


@click.command()
@options(c.DATABASE_URL, c.MIGRATE_WRITER_URL, c.MIGRATE_READER_URL, *LOGS)
@click.option("--wait", default=0.0, type=Finite(0), help="Seconds to wait for the server.")
@json_option
def migrate(as_json: bool, wait: float, **values: Any) -> None:
    """Bring the database's schema up to date; does nothing when it is. Needs the owner's URL.

    With --writer-url and --reader-url it also gives their users these passwords, and the rights of their role.

    \b
    telemetry migrate --database-url postgresql://owner@db:5432/telemetry --wait 60
    """
    start_logs(values)
    logins = logins_of(values)
    until = time.monotonic() + wait
    with session_of(values, "migrate", lock_timeout=MIGRATE_LOCK_TIMEOUT) as session:
        while True:
            try:
                applied = migrate_schema(session, logins=logins)
                break
            except StoreUnavailable as error:
                if isinstance(error, StoreDenied) or time.monotonic() >= until:
                    raise
                log_event(log, logging.WARNING, "waiting for the database", error=error)
                time.sleep(0.5)
        with session.use() as connection:
            tier = check_migrated(connection)
    if as_json:
        output.json({"applied": applied, "tier": tier.value})
    else:
        click.echo(f"{tier.title}: {'applied ' + ', '.join(applied) if applied else 'up to date'}")


def logins_of(values: Values) -> dict[str, str]:
    """The URLs that are to become logins, by their group. Raises ConfigError, which shows nothing of them."""
    found = {}
    for setting, group in ((c.MIGRATE_WRITER_URL, WRITER), (c.MIGRATE_READER_URL, READER)):
        if url := values[setting.flag.replace("-", "_")]:
            try:
                check_login(url)
            except StoreError as error:
                raise ConfigError(f"--{setting.flag} (or {setting.env}) {error}") from None
            found[group] = url
    return found


@click.command()
@options(c.DATABASE_URL)
@click.option("--stream", default=None, help="Only this stream, by its full id.")
@json_option
def verify(as_json: bool, stream: str | None, **values: Any) -> int:
    """Reconcile: read = stored + blank + rejected + dead for each stream, stored being counted in samples.

    Exit code 1 when a stream does not reconcile or, unless --stream is given, samples belong to no block. Unsettled
    readings are under way, or wait for a streamer of their source; lost ones were reserved and stand in no block.
    Dropped ones are among those stored: retention counted them as they went.

    \b
    telemetry verify
    telemetry verify --stream csv@cbb501dcec54:once:now --json
    """
    with session_of(values, "verify") as session:
        with session.use() as connection:
            check_migrated(connection)
        accounts = Accounts(session=session)
        found = accounts.of(stream)
        orphans = accounts.orphans() if stream is None else None  # they belong to no stream
    if stream is not None and not found:
        raise click.ClickException(f"no stream {stream}; `telemetry verify` lists them")
    sound = not orphans and all(account.reconciles for account in found)
    rows = [output.account_of(account) for account in found]
    if as_json:
        output.json({"streams": rows, **({} if orphans is None else {"orphans": orphans}), "reconciles": sound})
    else:
        output.table(list(output.account_of(None)) if not rows else list(rows[0]), [list(row.values()) for row in rows])
        if orphans is not None:
            click.echo(f"samples without a block: {orphans}")
        click.echo(
            "DOES NOT RECONCILE" if not sound else "everything reconciles" if stream is None else "it reconciles"
        )
    return 0 if sound else 1


@click.command()
@options(c.DATABASE_URL)
@click.option(
    "--older-than",
    type=Finite(0),
    required=True,
    metavar="DAYS",
    help=f"Days since a block was settled; 0 = all but those of the last {FRESH:.0f} s.",
)
@json_option
def prune(as_json: bool, older_than: float, **values: Any) -> None:
    """Turn ledger rows of blocks that were settled long ago into sums; readings stay, and verify still counts them.

    Streamers do so by themselves (--ledger-days). Rows of dead blocks stay until those are replayed or dropped. Who
    listens to the live tail goes on, but a client that comes back after a break may have to begin anew.

    \b
    telemetry prune --older-than 7
    """
    blocks = readings = 0
    with session_of(values, "prune") as session:
        with session.use() as connection:
            check_migrated(connection)
        pruning = Pruning(session=session, keep=max(older_than * DAY, FRESH))
        more = True
        while more:
            step = pruning.step()
            blocks, readings, more = blocks + step.blocks, readings + step.readings, step.more
    if as_json:
        output.json({"blocks": blocks, "readings": readings})
    else:
        click.echo(f"pruned {blocks} blocks of {readings} readings from the ledger")


@click.command()
@json_option
def config(as_json: bool) -> None:
    """Show every setting: its variable, flag, value and where that comes from. Passwords are masked.

    A variable TELEMETRY_* that is no setting is told after the list; exit code 2.
    """
    rows = []
    for setting in SETTINGS:
        text, origin = from_environment(setting)
        value = setting.default if text is None else mask_secrets(text) if setting.secret else text
        described = {"variable": setting.env, "flag": f"--{setting.flag}", "value": value, "from": origin}
        rows.append({**described, "help": setting.help})
    if as_json:
        output.json(rows)
    else:
        output.table(list(rows[0]), [list(row.values()) for row in rows])
    check_environment()
