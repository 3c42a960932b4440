"""`telemetry queue`: looking into the queue, and at what died in it."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click
import orjson

from telemetry import config as c
from telemetry.broker import Message, Topic
from telemetry.cli import output
from telemetry.cli.options import QUEUE, Finite, Values, json_option, options
from telemetry.cli.wiring import session_of, topic_of
from telemetry.collector.replay import NotReplayable, give_back, is_raw, publish_again
from telemetry.runtime.logs import mask_secrets
from telemetry.store.deadblocks import DeadBlock, DeadBlocks
from telemetry.store.errors import StoreError
from telemetry.store.schema import check_migrated

SHOWN = 2_000
"""Bytes of a payload that are printed without --full."""


@click.group()
def queue() -> None:
    """Look into the queue and at its dead letters.

    \b
    telemetry queue stats
    telemetry queue peek --count 3
    telemetry queue dead list
    """


@queue.command(short_help="Depth, ages and consumers, in messages and rows.")
@options(*QUEUE, c.DATABASE_URL)
@json_option
def stats(as_json: bool, **values: Any) -> None:
    """Depth, ages and consumers, in messages and rows (readings); with --database-url what lies in dead_blocks too.

    dead and dead_rows count what died since the queue was made, also what was replayed or dropped since.
    """
    topic = _topic(values)
    found = topic.stats()
    shown: dict[str, object] = {"stream": topic.keys.stream, **asdict(found)}
    del shown["dead_letters"]  # the broker's own stream of them, which stays empty: collectors bury in dead_blocks
    if values["database_url"]:
        shown |= _buried(values)
    if as_json:
        output.json(shown)
        return
    del shown["consumers"]
    shown["time"] = datetime.fromtimestamp(found.time, UTC)
    shown["oldest_age"] = None if found.oldest_age is None else f"{found.oldest_age:.1f} s"
    output.pairs(shown)
    for consumer in found.consumers:
        click.echo(f"consumer {consumer.name}: {consumer.pending} pending, idle {consumer.idle:.1f} s")


def _buried(values: Values) -> dict[str, object]:
    """What dead_blocks holds; None, and why on stderr, when the database does not say: the queue is shown anyhow."""
    try:
        blocks, rows = _dead_blocks(values).count()
    except StoreError as error:
        click.echo(f"telemetry: database: {mask_secrets(str(error))}", err=True)
        return {"dead_blocks": None, "dead_blocks_rows": None}
    return {"dead_blocks": blocks, "dead_blocks_rows": rows}


@queue.command()
@options(*QUEUE)
@click.option("--count", default=10, type=click.IntRange(1, 1000), show_default=True, help="Messages to show.")
@json_option
def peek(as_json: bool, count: int, **values: Any) -> None:
    """The oldest messages, waiting or in flight, without touching them."""
    messages = _topic(values).peek(count)
    if as_json:
        output.json([_described(message) for message in messages])
    elif not messages:
        click.echo("the queue is empty")
    else:
        described = [_described(message) for message in messages]
        output.table(list(described[0]), [list(row.values()) for row in described])


def _topic(values: Values) -> Topic:
    topic = topic_of(values, "cli")
    click.get_current_context().call_on_close(topic.broker.close)
    return topic


def _described(message: Message) -> dict[str, object]:
    return {
        "entry": message.entry,
        "id": message.id,
        "rows": message.rows,
        "bytes": len(message.body),
        "attempts": message.attempts,
        "consumer": message.owner or None,
        "idle": round(message.idle, 1) if message.owner else None,
    }


@queue.group()
def dead() -> None:
    """Messages that could not be stored: table dead_blocks."""


def _dead_blocks(values: Values) -> DeadBlocks:
    session = session_of(values, "cli")
    click.get_current_context().call_on_close(session.close)
    with session.use() as connection:
        check_migrated(connection)
    return DeadBlocks(session=session)


def _found(blocks: DeadBlocks, number: int) -> tuple[DeadBlock, bytes]:
    shown = blocks.show(number)
    if shown is None:
        raise click.ClickException(f"no dead block {number}; `telemetry queue dead list` shows them")
    return shown


@dead.command(name="list")
@options(c.DATABASE_URL)
@click.option("--limit", default=100, type=click.IntRange(1, 10_000), show_default=True, help="Blocks to show.")
@click.option("--after", default=0, type=click.IntRange(0), help="Only ids above this one.")
@json_option
def list_(as_json: bool, limit: int, after: int, **values: Any) -> None:
    """Dead blocks, oldest first, with the reason."""
    blocks = _dead_blocks(values)
    page = blocks.page(after, limit)
    if as_json:
        output.json([block._asdict() for block in page])
        return
    count, rows = blocks.count()
    if page:
        columns = ("id", "message_id", "rows", "attempts", "died_at", "reason")
        output.table(columns, [[getattr(block, column) for column in columns] for block in page])
    click.echo(f"{count} dead blocks, {rows} readings; showing {len(page)}")


@dead.command()
@options(c.DATABASE_URL)
@click.argument("number", type=int)
@click.option("--full", is_flag=True, help="The whole payload.")
@json_option
def show(as_json: bool, number: int, full: bool, **values: Any) -> None:
    """One dead block and its payload."""
    block, payload = _found(_dead_blocks(values), number)
    shown = payload if full else payload[:SHOWN]
    if as_json:
        output.json({**block._asdict(), "payload": shown})
        return
    output.pairs(block._asdict())
    click.echo("".join(map(_printable, shown.decode("utf-8", "backslashreplace"))))
    if len(shown) < len(payload):
        click.echo(f".. {len(payload) - len(shown)} more bytes; --full shows them")


def _printable(char: str) -> str:
    """A character of a payload, which is a stranger's: it may not steer the terminal."""
    return char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode()


@dead.command(short_help="Send dead blocks through the queue again.")
@options(c.DATABASE_URL, *QUEUE)
@click.argument("numbers", type=int, nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every dead block.")
@click.option(
    "--timeout", default=30.0, type=Finite(0), show_default=True, help="Seconds to wait for room in the queue."
)
@json_option
def replay(as_json: bool, numbers: Sequence[int], every: bool, timeout: float, **values: Any) -> int:
    """Send dead blocks through the queue again: what can be stored now is, once; what dies again stays dead.

    Rows in format csv, which no streamer could publish, are given back to the streamers of their file: one must run.
    Exit code 1 when there is nothing to give back: such a block stays as it is.

    \b
    telemetry queue dead list
    telemetry queue dead replay 7 9
    telemetry queue dead replay --all
    """
    blocks, topic = _dead_blocks(values), _topic(values)
    replayed: list[int] = []
    refused: dict[int, str] = {}
    for number in _chosen(blocks, numbers, every):
        if why := _replay(blocks, topic, number, timeout):
            refused[number] = why
        else:
            replayed.append(number)
    if as_json:
        output.json({"replayed": replayed, "refused": list(refused)})
    else:
        _done(replayed, "replayed", as_json=False)
        for number, why in refused.items():
            click.echo(f"refused dead block {number}: {why}")
    return 1 if refused else 0


def _replay(blocks: DeadBlocks, topic: Topic, number: int, timeout: float) -> str:
    """Send one back; or why not."""
    block, payload = _found(blocks, number)
    try:
        if is_raw(block):
            give_back(block, blocks)
        else:
            publish_again(block, payload, topic, timeout=timeout)
    except NotReplayable as error:
        return str(error)
    return ""


@dead.command(short_help="Forget dead blocks and their payload for good.")
@options(c.DATABASE_URL)
@click.argument("numbers", type=int, nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every dead block.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def drop(as_json: bool, numbers: Sequence[int], every: bool, yes: bool, **values: Any) -> None:
    """Forget dead blocks and their payload for good; their readings stay counted as dead."""
    blocks = _dead_blocks(values)
    chosen = _chosen(blocks, numbers, every)
    if chosen and not yes:
        click.confirm(f"Drop {len(chosen)} dead blocks? Their readings are lost for good", abort=True)
    for number in chosen:
        if not blocks.drop(number):
            _found(blocks, number)
    _done(chosen, "dropped", as_json)


def _chosen(blocks: DeadBlocks, numbers: Sequence[int], every: bool) -> list[int]:
    if bool(numbers) == every:
        raise click.UsageError("name dead blocks by number, or all of them by --all")
    return [block.id for block in blocks.all()] if every else list(numbers)


def _done(numbers: Sequence[int], what: str, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps({what: list(numbers)}).decode())
    else:
        click.echo(f"{what} {len(numbers)} dead block{'' if len(numbers) == 1 else 's'}")
