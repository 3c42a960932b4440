"""Hiding passwords in what people and log collectors read.

A password may hold any character, so that no pattern finds its end: what may belong to it is hidden too.
What does not live here: the format of log lines (`logs`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

__all__ = ["mask_fields", "mask_secrets", "mask_tokens"]

_HIDDEN = "***"
_KEY = r"(?:password|passwd|pwd)"
_LOGIN = re.compile(r"(://[^\s/:]*):(.*)@(.*)")  # greedy: to the last @ of the line
_PAIR = re.compile(rf"(?i)({_KEY}(?:[\"']?\s*=|[\"']\s*:)).*")
_TOKEN = re.compile(r"(tlm_[A-Za-z0-9_-]{4})[A-Za-z0-9_-]+")
_SECRET_NAME = re.compile(rf"(?i){_KEY}\Z")


def mask_secrets(text: str) -> str:
    """Hide tokens, the password of a URL up to the line's last @, and all that follows a `password=` in its line."""
    return _PAIR.sub(rf"\g<1>{_HIDDEN}", _LOGIN.sub(_without_login, mask_tokens(text)))


def mask_tokens(text: str) -> str:
    """Hide the API's bearer tokens but for the first characters, by which `telemetry token list` knows them."""
    return _TOKEN.sub(rf"\g<1>{_HIDDEN}", text)


def mask_fields(fields: Mapping[object, object]) -> dict[str, object]:
    """Give fields as JSON knows them, at any depth without passwords; `password` and its like are hidden whole."""
    return {str(key): _HIDDEN if _SECRET_NAME.search(str(key)) else _masked(value) for key, value in fields.items()}


def _without_login(found: re.Match[str]) -> str:
    # a `password=` before the last @ may reach beyond it: postgresql://u:a@h/d?password=b@c
    rest = _HIDDEN if _PAIR.search(found[2]) else found[3]
    return f"{found[1]}:{_HIDDEN}@{rest}"


def _masked(value: object) -> object:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)  # JSON has no NaN
    if isinstance(value, Mapping):
        return mask_fields(value)
    if isinstance(value, list | tuple):
        return [_masked(item) for item in value]
    return mask_secrets(str(value))
