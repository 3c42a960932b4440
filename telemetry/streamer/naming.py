"""The names of streams: which content, read how. Another or a changed file is another stream."""

import re

from telemetry.streamer.errors import SourceError

_NAME = re.compile(r"[A-Za-z0-9._+-]{1,120}")


def stream_id(name: str, digest: str, *, once: bool, times: bool) -> str:
    """`name@sha256[:12]:once|loop:source|now`, the key of the shared cursor and of every block.

    `digest` is the content's SHA-256 in hex. SourceError when the name cannot be part of a key.
    """
    if not _NAME.fullmatch(name):
        raise SourceError(f"stream name {name!r} may have 1 to 120 letters, digits, dots, dashes, plus and underscores")
    return f"{name}@{digest[:12]}:{'once' if once else 'loop'}:{'source' if times else 'now'}"
