"""The command `telemetry`: builds objects from settings and runs them; does nothing else.

What lives here: the root command. One file per command family beside it; how errors are told is in `faults`.
Exit codes: 0 done; 1 the answer is no (something does not reconcile, is missing, or was cut short); 2 wrong usage,
settings, credentials or input; 3 a server that was needed is not there; 70 a fault of telemetry itself; 130 Ctrl-C.
"""

import os
import signal
import sys

import click

from telemetry import __version__
from telemetry.cli import later
from telemetry.config import spare_threads

COMMANDS = {
    "up": ("up", "Run everything on this machine."),
    "stream": ("stream", "Read a CSV export and publish its readings."),
    "collect": ("collect", "Take blocks from the queue and store them, each once."),
    "serve": ("api", "Answer questions over HTTP."),
    "token": ("token", "Create, list and revoke the API's bearer tokens."),
    "migrate": ("admin", "Bring the database's schema up to date."),
    "queue": ("queue", "Look into the queue and at its dead letters."),
    "verify": ("admin", "Reconcile: read = stored + blank + rejected + dead."),
    "prune": ("admin", "Turn ledger rows settled long ago into sums."),
    "retain": ("retain", "Drop readings older than the retention."),
    "openapi": ("openapi", "Write the API's OpenAPI document."),
    "config": ("admin", "Show every setting, its value and where it comes from."),
}
"""Command -> the module of this package that has it, read when it is asked for, and what the list of commands says."""


class Commands(click.Group):
    """The commands, in the order in which a person meets them. A list of them reads none of their modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of them, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        found: click.Command = getattr(later.read(module), cmd_name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What `telemetry --help` says of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


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


def end_at_sigterm() -> None:
    """Let SIGTERM end the first process of a container, too; roles that drain say otherwise later.

    The kernel keeps a signal from such a process unless it handles it: a command that only waits, or has only begun,
    would run on until it is killed at the end of the grace period.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, _frame: os._exit(128 + number))


def main() -> None:
    """Run the command; whatever goes wrong is told in one line, without secrets."""
    end_at_sigterm()
    spare_threads()
    try:
        sys.exit(cli(prog_name="telemetry", standalone_mode=False) or 0)
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(later.read("faults").tell(error))
