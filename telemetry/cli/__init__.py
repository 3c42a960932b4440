"""The command `telemetry`: builds objects from settings and runs them; does nothing else.

What lives here: the root command and how errors are told. One file per command family beside it.
Exit codes: 0 done; 1 the answer is no (something does not reconcile, is missing, or was cut short); 2 wrong usage,
settings or input; 3 a server that was needed is not there.
"""

import os
import sys

import click

from telemetry import __version__
from telemetry.broker import BrokerError, BrokerUnavailable
from telemetry.cli.admin import config, migrate, verify
from telemetry.cli.queue import queue
from telemetry.cli.roles import collect, stream
from telemetry.cli.up import up
from telemetry.config import ConfigError, check_environment
from telemetry.embedded import EmbeddedError
from telemetry.runtime.logs import mask_secrets
from telemetry.store.errors import StoreDenied, StoreError, StoreUnavailable
from telemetry.streamer.errors import SourceError

EXIT_USAGE, EXIT_AWAY = 2, 3


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="telemetry")
def cli() -> None:
    """GPU telemetry from DCGM exports through a bounded Redis queue into a database, each reading once.

    `telemetry up` runs everything on this machine. Every option can be set by its environment variable; a secret
    also by a file that <VARIABLE>_FILE names.
    """
    check_environment()


for command in (up, stream, collect, migrate, queue, verify, config):
    cli.add_command(command)


def main() -> None:
    """Run the command; whatever goes wrong is told in one line, without secrets."""
    try:
        sys.exit(cli(standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe went away; Python would complain again while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (ConfigError, SourceError, EmbeddedError, StoreDenied) as error:
        _say(error, EXIT_USAGE)
    except (StoreUnavailable, BrokerUnavailable) as error:
        _say(error, EXIT_AWAY)
    except (StoreError, BrokerError) as error:
        _say(error, 1)


def _say(error: Exception, code: int) -> None:
    print(f"telemetry: {mask_secrets(' '.join(str(error).split()))}", file=sys.stderr)
    sys.exit(code)
