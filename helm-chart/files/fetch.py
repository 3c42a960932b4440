"""Fetches a streamer's source before the streamer starts: fetch.py ADDRESS FILE [SHA256].

ADDRESS is http:// or https://, or @FILE, a file that holds one, as signed addresses are secrets. The file appears under
its name only when it is whole. Runs in an init container, whose next try is the kubelet's. The standard library alone.
"""

import hashlib
import sys
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

SECONDS = 30.0
"""For each read; the whole may take as long as it takes."""

PIECE = 1 << 20


class NotFetched(Exception):
    """Raised when the file is not there whole; its text says why and shows no password of the address."""


def fetch(address: str, file: Path, sha256: str = "") -> int:
    """Write what the address gives to the file, and give its size in bytes. Raises NotFetched."""
    shown = _shown(address)
    part, digest, size = file.with_suffix(".part"), hashlib.sha256(), 0
    request = urllib.request.Request(address, headers={"User-Agent": "telemetry-pipeline"})  # noqa: S310  looked at
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer, part.open("wb") as target:  # noqa: S310
            while piece := answer.read(PIECE):
                digest.update(piece)
                size += target.write(piece)
            told = answer.headers.get("Content-Length")
    except urllib.error.HTTPError as error:
        raise NotFetched(f"{shown} answers {error.code} {error.reason}") from None
    except (OSError, HTTPException) as error:
        raise NotFetched(f"{shown}: {getattr(error, 'reason', None) or error}") from None
    if told is not None and told.isdigit() and int(told) != size:
        raise NotFetched(f"{shown} broke off after {size} of {told} bytes")
    if sha256 and digest.hexdigest() != sha256.lower():
        raise NotFetched(f"{shown} has the SHA-256 {digest.hexdigest()}, not streamer.source.url.sha256 {sha256}")
    part.replace(file)
    return size


def _shown(address: str) -> str:
    """The address without login and query. Raises NotFetched when it is none."""
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise NotFetched("streamer.source.url is no address; write https://host/export.csv")
    return f"{parts.scheme}://{host}{parts.path}"


def main(arguments: list[str]) -> int:
    """Fetch as the command line says; the exit code."""
    address, file, *sha256 = arguments
    try:
        if address.startswith("@"):
            address = Path(address[1:]).read_text(encoding="utf-8").strip()
        size = fetch(address, Path(file), *sha256)
    except (NotFetched, OSError) as error:
        print(f"fetch: {error}", file=sys.stderr)
        return 1
    print(f"fetched {size} bytes to {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
