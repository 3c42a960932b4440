"""Logs: one line per event, folded when repeated, without secrets."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from telemetry.runtime import configure_logs, log_event, mask_secrets
from telemetry.runtime.folding import LONGEST_ID, MOST_IDS, Folding, FoldingHandler
from telemetry.runtime.logs import JsonFormatter, LineFormatter
from tests.fixtures.clock import ManualClock
from tests.fixtures.wait import until

LOG = logging.getLogger("telemetry.test")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    root.handlers[:] = []
    yield io.StringIO()
    root.handlers[:] = before
    root.setLevel(level)


def test_an_event_is_one_line_with_a_utc_time_and_quoted_values(stream: io.StringIO) -> None:
    configure_logs("info", stream=stream)
    log_event(LOG, logging.INFO, "block stored", rows=5000, name="a b", ratio=0.25, msg="x=1", empty="")
    line = stream.getvalue()
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO telemetry\.test block stored ", line)
    assert line.endswith('rows=5000 name="a b" ratio=0.25 msg="x=1" empty=""\n')


def test_fields_may_also_come_by_extra(stream: io.StringIO) -> None:
    configure_logs(logging.INFO, stream=stream)
    LOG.info("block of %d stored", 5, extra={"rows": 7})
    assert "block of 5 stored rows=7\n" in stream.getvalue()


def test_json_gives_one_object_per_line(stream: io.StringIO) -> None:
    configure_logs("DEBUG", json=True, stream=stream)
    log_event(LOG, logging.DEBUG, "block\nstored", rows=5, path="a\nb")
    event = json.loads(stream.getvalue())
    assert (event["event"], event["rows"], event["path"]) == ("block stored", 5, "a\nb")
    assert (event["level"], event["logger"]) == ("DEBUG", "telemetry.test")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_traceback_stays_on_the_line(stream: io.StringIO, as_json: bool) -> None:
    configure_logs("info", json=as_json, stream=stream)
    try:
        raise ValueError("no\nluck")
    except ValueError:
        log_event(LOG, logging.ERROR, "it failed", exc_info=True)
    assert stream.getvalue().count("\n") == 1
    assert "ValueError: no" in stream.getvalue()
    assert "Traceback" in stream.getvalue()


def test_levels_below_the_wanted_one_are_left_out(stream: io.StringIO) -> None:
    configure_logs("warning", stream=stream)
    LOG.info("quiet")
    assert stream.getvalue() == ""


def test_a_repeated_warning_is_folded_into_a_count(stream: io.StringIO) -> None:
    clock = ManualClock()
    configure_logs("info", stream=stream, clock=clock)
    for attempt in range(5):
        log_event(LOG, logging.WARNING, "the database is away", attempt=attempt)
    log_event(LOG, logging.WARNING, "another sentence")
    assert stream.getvalue().count("the database is away") == 1
    clock.now += 10
    log_event(LOG, logging.INFO, "any event")
    lines = stream.getvalue().splitlines()
    assert lines[2].endswith("the database is away attempt=4 repeated=4")
    assert lines[3].endswith("any event")


def test_what_is_folded_at_the_end_is_written_when_logs_close(stream: io.StringIO) -> None:
    configure_logs("info", stream=stream)
    LOG.error("broken")
    LOG.error("broken")
    configure_logs("info", stream=io.StringIO())
    assert stream.getvalue().splitlines()[1].endswith("broken repeated=1")


@pytest.mark.parametrize("name", ["id", "request_id"])
def test_each_id_of_lines_that_are_folded_is_told(stream: io.StringIO, name: str) -> None:
    clock = ManualClock()
    configure_logs("info", json=True, stream=stream, clock=clock)
    for number in range(6):
        LOG.error("it failed", extra={"fields": {name: f"csv@x:{number}", "why": "bad"}})
    clock.now += 10
    LOG.info("any event")
    first, last, _ = map(json.loads, stream.getvalue().splitlines())
    assert (first[name], last[name], last["repeated"]) == ("csv@x:0", "csv@x:5", 5)
    assert last[f"{name}s"] == [f"csv@x:{number}" for number in range(1, 6)]


def test_ids_on_a_line_are_one_word(stream: io.StringIO) -> None:
    configure_logs("info", stream=stream)
    for number in range(3):
        log_event(LOG, logging.ERROR, "it failed", id=f"s:{number}")
    logging.getLogger().handlers[0].close()
    assert stream.getvalue().endswith("it failed id=s:2 repeated=2 ids=s:1,s:2\n")


def test_a_flood_takes_two_lines_of_a_bounded_length_in_each_window(stream: io.StringIO) -> None:
    clock = ManualClock()
    configure_logs("info", stream=stream, clock=clock)
    for number in range(3 * (MOST_IDS + 1)):
        log_event(LOG, logging.ERROR, "it failed", id=f"{number}:" + "x" * 5 * LONGEST_ID)
    clock.now += 10
    LOG.info("any event")
    first, last, _ = stream.getvalue().splitlines()
    assert f"repeated={3 * MOST_IDS + 2} " in last
    assert last.count(",") == MOST_IDS - 1
    assert len(last) < len(first) + MOST_IDS * (LONGEST_ID + 1) + 100


def test_what_is_folded_is_told_though_nothing_else_happens(stream: io.StringIO) -> None:
    clock = ManualClock()
    handler = FoldingHandler(stream, Folding(clock=clock, seconds=0.05))
    logging.getLogger().addHandler(handler)
    handler.setFormatter(LineFormatter())
    for count in (1, 2):  # the second window is told as the first one is
        LOG.error("it failed")
        LOG.error("it failed")
        clock.now += 1
        until(lambda count=count: stream.getvalue().count("repeated=") == count)  # type: ignore[misc]  # bound now
    handler.close()


def test_what_a_forked_process_folds_is_told_too(stream: io.StringIO, tmp_path: Path) -> None:
    path, clock = tmp_path / "log", ManualClock()
    with path.open("w", buffering=1) as file:
        handler = FoldingHandler(file, Folding(clock=clock, seconds=0.05))
        handler.setFormatter(LineFormatter())
        logging.getLogger().addHandler(handler)
        with handler._alone():  # so that the parent's timer is under way all the while
            LOG.error("parent")
            LOG.error("parent")
            child = os.fork()
            if child == 0:
                LOG.error("child")
                LOG.error("child")
                clock.now += 1
                signal.pause()
        try:
            until(lambda: "child repeated=1" in path.read_text())
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            handler.close()


def test_the_pairs_of_a_librarys_message_are_fields(stream: io.StringIO) -> None:
    configure_logs("info", json=True, stream=stream)
    LOG.warning("broker unavailable, trying again consumer=%s error=%s", "c-1", OSError("redis://:hush@h refused"))
    LOG.warning("%d of them are away seconds=%.1f", 2, 0.5)
    pairs, text = map(json.loads, stream.getvalue().splitlines())
    assert (pairs["event"], pairs["consumer"]) == ("broker unavailable, trying again", "c-1")
    assert pairs["error"] == "redis://:***@h refused"
    assert text["event"] == "2 of them are away seconds=0.5"


def test_information_is_never_folded(stream: io.StringIO) -> None:
    configure_logs("info", stream=stream)
    for name in ("a", "b"):
        log_event(LOG, logging.INFO, "child started", name=name)
    assert stream.getvalue().count("child started") == 2


def test_configuring_again_replaces_the_handler(stream: io.StringIO) -> None:
    configure_logs("info", stream=io.StringIO())
    configure_logs("info", stream=stream)
    LOG.info("once")
    assert stream.getvalue().count("once") == 1


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("redis://:s3cret@host:6379/0", "redis://:***@host:6379/0"),
        ("postgresql://me:p@ss/w:rd@db/telemetry", "postgresql://me:***@db/telemetry"),
        ("postgresql://me@corp:hush@db/telemetry", "postgresql://me@corp:***@db/telemetry"),
        ("cannot reach 'rediss://u:pw@h'", "cannot reach 'rediss://u:***@h'"),
        ("host=db user=me password=hush", "host=db user=me password=***"),
        ("host=db password = 'hu sh' user=me\nrefused", "host=db password =***\nrefused"),
        ("{'PGPASSWORD': 'hush'}", "{'PGPASSWORD':***"),
        ("postgresql://me@db/x?sslmode=off&password=hush", "postgresql://me@db/x?sslmode=off&password=***"),
        ("postgresql://me:hush@db/x?password=hu@sh", "postgresql://me:***@***"),
        ("http://host:80/path", "http://host:80/path"),
        ("postgresql://me@db:5432/x?passfile=/run/x", "postgresql://me@db:5432/x?passfile=/run/x"),
        ("password authentication failed: try again", "password authentication failed: try again"),
    ],
)
def test_passwords_are_masked(text: str, masked: str) -> None:
    assert mask_secrets(text) == masked


PRINTABLE = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp")), min_size=1)
FORMS = (
    "postgresql://u:{}@h/d",
    "cannot reach redis://:{}@h",
    "host=h password={}",
    "host=h password='{}' x",
    'host=h password="{}" x',
)


@pytest.mark.parametrize("form", FORMS)
@given(password=PRINTABLE)
@example("it's")
@example('a"b')
@example("a b")
@example("a\\")
@example("a@b password=c@d")
@example("a://b:c@d")
def test_what_is_shown_of_a_text_is_the_same_whatever_its_password(form: str, password: str) -> None:
    known = mask_secrets(form.format("x"))
    assert mask_secrets(form.format(password)) in (known, f"{known.partition('@')[0]}@***")


@pytest.mark.parametrize("form", FORMS)
@given(password=PRINTABLE)
@example("it's")
@example('a"b')
@example("a b")
def test_a_json_line_parses_and_shows_no_password_at_any_depth(form: str, password: str) -> None:
    text = form.format(password)
    record = logging.makeLogRecord({"msg": text, "fields": {"text": text, "inner": {"texts": [text], "pwd": password}}})
    event = json.loads(JsonFormatter().format(record))
    assert {event["event"], event["text"], event["inner"]["texts"][0]} == {mask_secrets(text)}
    assert event["inner"]["pwd"] == "***"


def test_a_field_that_is_named_a_password_is_hidden_whole(stream: io.StringIO) -> None:
    configure_logs("info", stream=stream)
    log_event(LOG, logging.INFO, "connecting", password="hush", url={"db_password": "hush"}, text='password="hu sh" x')
    assert "hu" not in stream.getvalue()


def test_a_number_that_json_does_not_know_is_written_as_text(stream: io.StringIO) -> None:
    configure_logs("info", json=True, stream=stream)
    log_event(LOG, logging.INFO, "measured", ratio=float("nan"), where=Path("/x"))
    event = json.loads(stream.getvalue())
    assert (event["ratio"], event["where"]) == ("nan", "/x")


@pytest.mark.parametrize("as_json", [False, True])
def test_no_log_line_shows_a_password(stream: io.StringIO, as_json: bool) -> None:
    configure_logs("info", json=as_json, stream=stream)
    try:
        raise OSError("connecting to redis://:hush@host failed")
    except OSError:
        log_event(LOG, logging.ERROR, "lost", exc_info=True, url="redis://:hush@host")
    assert "hush" not in stream.getvalue()
    assert "redis://:***@host" in stream.getvalue()
