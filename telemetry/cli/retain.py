"""`telemetry retain`, and what the settings of retention mean."""

from typing import Any

import click

from telemetry import config as c
from telemetry.cli import output
from telemetry.cli.options import Finite, Values, json_option, options
from telemetry.cli.wiring import DEFAULT_LOCK_TIMEOUT, session_of
from telemetry.config import ConfigError, Setting
from telemetry.store.retention import LEAST, Chunk, Dropped, Outcome, Retention, Rule
from telemetry.store.schema import check_migrated
from telemetry.store.session import Session

DAY = 86_400.0
MOST_DAYS = 36_500
AUTO, NONE = "auto", "none"
AUTO_RULE = Rule(keep=7 * DAY, stamped_only=True)
"""What was stamped when it was read goes after a week; who gave readings times of their own wants them kept."""

IN_THE_WAY = (Outcome.LOCKED, Outcome.BUSY, Outcome.WAITING)


def rule_of(values: Values) -> Rule | None:
    """What the settings say; None: all is kept for ever. ConfigError when they say nothing that can be done."""
    rollups = _seconds(values, c.ROLLUP_RETENTION)
    automatic = str(values["retention"]).strip().lower() == AUTO
    keep = AUTO_RULE.keep if automatic else _seconds(values, c.RETENTION, AUTO)
    if rollups is not None and (keep is None or rollups < keep):
        shown = f"--{c.ROLLUP_RETENTION.flag} (or {c.ROLLUP_RETENTION.env}) {values['rollup_retention']}"
        readings = f"--{c.RETENTION.flag} {values['retention']}"
        raise ConfigError(
            f"{shown}: rollups are made of readings, and cannot go before them ({readings}); write more days, or {NONE}"
        )
    return None if keep is None else Rule(keep=keep, stamped_only=automatic, rollups=rollups)


def _seconds(values: Values, setting: Setting, *words: str) -> float | None:
    """A number of days in seconds, None for `none`."""
    text = str(values[setting.flag.replace("-", "_")]).strip().lower()
    if text == NONE:
        return None
    try:
        seconds = float(text) * DAY
    except ValueError:
        seconds = 0.0
    if not LEAST <= seconds <= MOST_DAYS * DAY:
        known = " or ".join((NONE, *words))
        raise ConfigError(f"--{setting.flag} (or {setting.env}) {text!r}: write days (1 to {MOST_DAYS}), {known}")
    return seconds


def retention_of(values: Values) -> Retention | None:
    """What drops readings by the settings, None when nothing is to be dropped. Makes no connection yet."""
    rule = rule_of(values)
    return None if rule is None else _retention(session_of(values, "retention"), rule, values)


def _retention(session: Session, rule: Rule, values: Values) -> Retention:
    return Retention(session=session, rule=rule, lease=values.get("lease") or DEFAULT_LOCK_TIMEOUT)


@click.command()
@options(c.DATABASE_URL, c.RETENTION, c.ROLLUP_RETENTION)
@click.option(
    "--older-than",
    type=Finite(1, MOST_DAYS),
    metavar="DAYS",
    help="Drop all that is older, with times of their source or not, whatever --retention says.",
)
@click.option("--dry-run", is_flag=True, help="Only say what is due.")
@json_option
def retain(as_json: bool, older_than: float | None, dry_run: bool, **values: Any) -> int:
    """Drop readings older than the retention, a day at a time; verify goes on counting them as stored, and as dropped.

    Collectors do so by themselves (--retention). GPUs, the ledger, rejected rows and dead blocks stay, and rollups too
    until --rollup-retention. Exit code 1 when something that is due is still there, because somebody was in the way.

    \b
    telemetry retain --dry-run
    telemetry retain --older-than 30
    """
    rule = rule_of(values) if older_than is None else Rule(keep=older_than * DAY, stamped_only=False)
    found: list[Dropped] = []
    if rule is not None:
        with session_of(values, "retention") as session:
            with session.use() as connection:
                check_migrated(connection)
            retention = _retention(session, rule, values)
            if dry_run:
                due = [*retention.due(), *retention.due_rollups()]
                found = [Dropped(chunk, Outcome.DROPPED, 0) for chunk in due]
            else:
                found = list(retention.run())
    _print(found, as_json=as_json, dry_run=dry_run)
    return 1 if any(one.outcome in IN_THE_WAY for one in found) else 0


def _print(found: list[Dropped], *, as_json: bool, dry_run: bool) -> None:
    left = [one for one in found if one.outcome in IN_THE_WAY]
    gone = [one for one in found if one.outcome is Outcome.DROPPED]
    if as_json:
        rows = [{**_span(one.chunk), **({} if dry_run else {"readings": one.readings})} for one in gone]
        waiting = [{**_span(one.chunk), "why": one.outcome.value} for one in left]
        output.json({"due" if dry_run else "dropped": rows, "left": waiting})
        return
    for one in found:
        what = "due" if dry_run else one.outcome.value
        count = f" {one.readings} readings" if what == Outcome.DROPPED.value else ""
        click.echo(
            f"{one.chunk.table} of {one.chunk.begins.isoformat()} to {one.chunk.ends.isoformat()}: {what}{count}"
        )
    if not dry_run:
        click.echo(f"dropped {sum(one.readings for one in gone)} readings of {len(gone)} chunks")
    if left:
        click.echo("some are still there: locked and busy ones go later, waiting ones after a refresh of the rollups")


def _span(chunk: Chunk) -> dict[str, str]:
    return {"table": chunk.table, "begins": chunk.begins.isoformat(), "ends": chunk.ends.isoformat()}
