"""Payloads of strangers inside a JSON answer: as JSON where they are some, else as text, else in base64.

What does not live here: which payloads, and how much of them (the nouns).
"""

import codecs
from base64 import b64encode
from typing import Any, NamedTuple

import orjson
from marshmallow import fields

JSON, TEXT, BASE64 = "json", "text", "base64"
ENCODINGS = (JSON, TEXT, BASE64)


class Payload(NamedTuple):
    """How it is shown, what is shown, and whether that is only the beginning."""

    encoding: str
    value: Any
    cut: bool


def shown(part: bytes, size: int) -> Payload:
    """`part` is the beginning of a payload of `size` bytes, or all of it. JSON is not changed by a character."""
    cut = len(part) < size
    if not cut and _is_json(part):
        # Between its values only: a text holds no bare line end. Each object of NDJSON is to stay on its line.
        return Payload(JSON, orjson.Fragment(part.translate(_ONE_LINE)), cut)
    try:
        return Payload(TEXT, codecs.getincrementaldecoder("utf-8")().decode(part, final=not cut), cut)
    except UnicodeDecodeError:
        return Payload(BASE64, b64encode(part).decode("ascii"), cut)


def encoding_field(of: str) -> fields.String:
    """The field that says how a payload is shown."""
    description = f"How `{of}` is shown: `json` as the JSON that it is, `text` as a text, `base64` where it is neither."
    # A pattern, because of an enumeration that may be null generators make three classes.
    pattern = f"^({'|'.join(ENCODINGS)})$"
    return fields.String(required=True, allow_none=True, metadata={"description": description, "pattern": pattern})


def _is_json(part: bytes) -> bool:
    try:
        orjson.loads(part)
    except orjson.JSONDecodeError:
        return False
    return True


_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
