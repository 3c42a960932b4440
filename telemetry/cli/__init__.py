"""The command `telemetry`: builds objects from settings and runs them; does nothing else.

What lives here: the root command and how errors are told. One file per command family beside it.
Exit codes: 0 done; 1 the answer is no (something does not reconcile, is missing, or was cut short); 2 wrong usage,
settings, credentials or input; 3 a server that was needed is not there; 70 a fault of telemetry itself; 130 Ctrl-C.
"""

import os
import sys
import traceback
from importlib import import_module

import click

from telemetry import __version__
from telemetry.broker import BrokerDenied, BrokerError, BrokerUnavailable, TopicFull
from telemetry.config import ConfigError
from telemetry.embedded import EmbeddedError
from telemetry.runtime.logs import mask_secrets
from telemetry.store.errors import StoreDenied, StoreError, StoreUnavailable
from telemetry.streamer.errors import SourceError

EXIT_NO, EXIT_USAGE, EXIT_AWAY, EXIT_FAULT, EXIT_INTERRUPTED = 1, 2, 3, 70, 130


COMMANDS = {
    "up": "up",
    "stream": "stream",
    "collect": "collect",
    "serve": "api",
    "migrate": "admin",
    "queue": "queue",
    "verify": "admin",
    "prune": "admin",
    "config": "admin",
}
"""Command -> the module of this package that has it, read when it is asked for: a collector needs no pyarrow."""


class Commands(click.Group):
    """The commands, in the order in which a person meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of them, or None."""
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = getattr(import_module(f"telemetry.cli.{COMMANDS[cmd_name]}"), cmd_name)
        return found


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
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


def main() -> None:
    """Run the command; whatever goes wrong is told in one line, without secrets."""
    try:
        sys.exit(cli(prog_name="telemetry", standalone_mode=False) or 0)
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
