"""Bearer tokens: what one is, the text that keeps them, and which of them a request showed.

Only digests are kept. A token is 256 random bits, so one SHA-256 is enough: there is no dictionary to try against it,
as there is for a password, and a hash that is slow on purpose would let anybody keep this server busy with wrong
tokens. What does not live here: the file as it changes (`tokenfile`), what a scope allows (`auth`).
"""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

SCOPES = ("read", "write", "admin")
"""Each includes those before it."""

PREFIX = "tlm_"
SHOWN = len(PREFIX) + 4
"""Characters of a token that a list shows: enough to know one's own, and 232 bits short of it."""

TOKENS_MAX = 1_000
"""In a set: each request looks at all of them."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_FIELDS = {"name", "scope", "sha256", "starts", "created", "expires"}


class BadTokens(ValueError):
    """Raised when a text is no set of tokens; its text says where it is wrong and never repeats what stands there."""


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token: not the token. `digest` is its SHA-256; `starts` are its first characters."""

    name: str
    scope: str
    digest: bytes
    starts: str
    created: datetime
    expires: datetime | None = None

    def expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires is not None and now >= self.expires

    def allows(self, scope: str) -> bool:
        """Whether its scope includes another."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


def new_token(name: str, scope: str, *, created: datetime, expires: datetime | None = None) -> tuple[str, Token]:
    """A token that nobody has yet, and what is kept of it."""
    text = PREFIX + secrets.token_urlsafe(32)
    return text, Token(name, scope, digest_of(text), text[:SHOWN], created, expires)


def digest_of(text: str) -> bytes:
    """What is kept and compared in a token's place."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def find(tokens: Iterable[Token], text: str) -> Token | None:
    """The token that a request showed. Takes as long for a wrong one as for a right one, whichever that is.

    Digests are compared, so not even their time tells anything of a token: nobody can choose a digest.
    """
    digest, found = digest_of(text), None
    for token in tokens:
        if hmac.compare_digest(token.digest, digest):
            found = token
    return found


def to_text(tokens: Iterable[Token]) -> str:
    """The text that keeps them."""
    return json.dumps({"tokens": [_kept(token) for token in tokens]}, indent=1) + "\n"


def of_text(text: str) -> tuple[Token, ...]:
    """The tokens that a text keeps. Raises BadTokens."""
    try:
        rows = json.loads(text)["tokens"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadTokens('is no JSON object with a list "tokens", as `telemetry token create` writes it') from None
    if not isinstance(rows, list) or len(rows) > TOKENS_MAX:
        raise BadTokens(f'"tokens" is no list of at most {TOKENS_MAX}')
    tokens = tuple(_of_row(place, row) for place, row in enumerate(rows, 1))
    for what in ("name", "digest"):
        if len({getattr(token, what) for token in tokens}) < len(tokens):
            raise BadTokens(f"two tokens have the same {what}")
    return tokens


def _kept(token: Token) -> dict[str, str | None]:
    return {
        "name": token.name,
        "scope": token.scope,
        "sha256": token.digest.hex(),
        "starts": token.starts,
        "created": token.created.isoformat(),
        "expires": token.expires.isoformat() if token.expires else None,
    }


def _of_row(place: int, row: Any) -> Token:
    """A token. Fields that are not known are refused: a misspelt `expires` would make one that never ends."""
    try:
        if not row.keys() <= _FIELDS:
            raise ValueError
        name, scope, digest = str(row["name"]), row["scope"], bytes.fromhex(row["sha256"])
        created, expires = _time(row["created"]), row.get("expires")
        if not NAME.fullmatch(name) or scope not in SCOPES or len(digest) != hashlib.sha256().digest_size:
            raise ValueError
        return Token(name, scope, digest, str(row.get("starts", ""))[:SHOWN], created, expires and _time(expires))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadTokens(
            f"token {place} needs name, scope ({', '.join(SCOPES)}), sha256 (64 hex digits), created and expires (a "
            "time with its offset, or null), and nothing else; `telemetry token create` writes one"
        ) from None


def _time(text: Any) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError
    return found.astimezone(UTC)
