"""The command `telemetry`: builds objects from settings and runs them; does nothing else.

What lives here: the root command and how errors are told. One file per command family beside it.
Exit codes: 0 done; 1 the answer is no (something does not reconcile, is missing, or was cut short); 2 wrong usage,
settings, credentials or input; 3 a server that was needed is not there; 70 a fault of telemetry itself; 130 Ctrl-C.
"""

import os
import sys
import traceback

import click

from telemetry import __version__
from telemetry.broker import BrokerDenied, BrokerError, BrokerUnavailable, TopicFull
from telemetry.cli.admin import config, migrate, verify
from telemetry.cli.api import serve
from telemetry.cli.queue import queue
from telemetry.cli.roles import collect, stream
from telemetry.cli.up import up
from telemetry.config import ConfigError
from telemetry.embedded import EmbeddedError
from telemetry.runtime.logs import mask_secrets
from telemetry.store.errors import StoreDenied, StoreError, StoreUnavailable
from telemetry.streamer.errors import SourceError

EXIT_NO, EXIT_USAGE, EXIT_AWAY, EXIT_FAULT, EXIT_INTERRUPTED = 1, 2, 3, 70, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="telemetry")
def cli() -> None:
    """GPU telemetry from DCGM exports through a bounded Redis queue into a database, each reading once.

    `telemetry up` runs everything on this machine. Every option can be set by its environment variable; a secret
    also by a file that <VARIABLE>_FILE names.

    \b
    telemetry up                                  the sample in a loop, with the API on port 8080
    telemetry up --once --csv export.csv --json   one file exactly once, then its reconciliation
    telemetry COMMAND --help                      what a command takes, with examples
    """


for command in (up, stream, collect, serve, migrate, queue, verify, config):
    cli.add_command(command)


def main() -> None:
    """Run the command; whatever goes wrong is told in one line, without secrets."""
    try:
        sys.exit(cli(standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
        more = f" (`{command} --help` tells more)" if command else ""
        _say(error.format_message() + more, error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        if isinstance(error.__cause__ or error, KeyboardInterrupt):
            _say("interrupted", EXIT_INTERRUPTED)
        _say("not confirmed, nothing was done", EXIT_NO)
    except BrokenPipeError:
        # The reader of a pipe went away; Python would complain again while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_NO)
    except Exception as error:
        _say(*_told(error))


def _told(error: Exception) -> tuple[str, int]:
    """What a person needs to know of an error, and the exit code."""
    match error:
        case ConfigError() | SourceError() | EmbeddedError():
            return str(error), EXIT_USAGE
        case StoreDenied():
            return f"database: {error}; --database-url names user, password and database", EXIT_USAGE
        case StoreUnavailable():
            return f"database: {error}", EXIT_AWAY
        case StoreError():
            return f"database: {error}", EXIT_NO
        case TopicFull():
            return f"queue: {error}", EXIT_NO
        case BrokerUnavailable() if not isinstance(error, BrokerDenied):
            return f"queue: {error}", EXIT_AWAY
        case BrokerError():
            return f"queue: {error}", EXIT_USAGE
        case _:
            place = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})"
            return f"a fault of telemetry: {what}", EXIT_FAULT


def _say(text: str, code: int) -> None:
    print(f"telemetry: {mask_secrets(' '.join(text.split()))}", file=sys.stderr)
    sys.exit(code)
