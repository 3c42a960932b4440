"""What a person is told of an error, and the exit code: one line, without secrets.

Read only when something went wrong, because it knows the errors of every room. The meaning of the codes stands in
`telemetry.cli`.
"""

import os
import sys
import traceback

import click

from telemetry.broker import BrokerDenied, BrokerError, BrokerUnavailable, TopicFull
from telemetry.config import ConfigError
from telemetry.embedded import EmbeddedError
from telemetry.runtime.logs import mask_secrets
from telemetry.store.errors import StoreDenied, StoreError, StoreUnavailable
from telemetry.streamer.errors import SourceError

EXIT_NO, EXIT_USAGE, EXIT_AWAY, EXIT_FAULT, EXIT_INTERRUPTED = 1, 2, 3, 70, 130


def tell(error: BaseException) -> int:
    """Say on stderr what went wrong; the exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        # The reader of a pipe went away; Python would complain again while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_NO
    text, code = _told(error)
    print(f"telemetry: {mask_secrets(' '.join(text.split()))}", file=sys.stderr)
    return code


def _told(error: BaseException) -> tuple[str, int]:
    """What a person needs to know of an error, and the exit code."""
    match error:
        case click.ClickException():
            command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
            more = f" (`{command} --help` tells more)" if command else ""
            return error.format_message() + more, error.exit_code
        case click.Abort() | KeyboardInterrupt():
            interrupted = isinstance(error.__cause__ or error, KeyboardInterrupt)
            return ("interrupted", EXIT_INTERRUPTED) if interrupted else ("not confirmed, nothing was done", EXIT_NO)
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
