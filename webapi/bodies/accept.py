"""What a client takes: the Accept header weighed against the media types that there are (RFC 9110, section 12.5.1).

What does not live here: which types an answer can have (`formats`), how its bytes are packed (`compress`).
"""

from collections.abc import Mapping

from flask import request
from werkzeug.datastructures import MIMEAccept

from webapi.problems import Problem, cut


def preferred(types: Mapping[str, str]) -> str:
    """The name of the type that the current request likes best; of `types` (media types by name) the first, where it
    does not care.

    Raises a 406 problem when it takes none of them.
    """
    accepted = request.accept_mimetypes
    if not accepted:
        return next(iter(types))
    weights = {name: _weight(accepted, media_type.partition(";")[0]) for name, media_type in types.items()}
    best = max(weights, key=lambda name: weights[name])
    if not weights[best][0]:
        raise _nothing(types)
    return best


def _weight(accepted: MIMEAccept, media_type: str) -> tuple[float, int]:
    """Its quality, and how exactly it is named. The most exact name counts, even if a wildcard is weighed higher."""
    ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
    exact = {name: len(ranges) - place for place, name in enumerate(ranges)}
    found = [(exact[name], quality) for text, quality in accepted if (name := _bare(text)) in exact]
    exactness, quality = max(found, default=(0, 0.0))
    return quality, exactness


def _bare(text: str) -> str:
    """A media range without its parameters: header=present or charset=utf-8 make no other type of one."""
    return text.partition(";")[0].strip().lower()


def _nothing(types: Mapping[str, str]) -> Problem:
    given, names = cut(request.headers.get("Accept", "")), list(types)
    known = ", ".join(media_type.partition(";")[0] for media_type in types.values())
    what = f"names nothing that there is: {known}; name one of these, or ask for format={names[0]}, which wins"
    errors = [{"parameter": "Accept", "value": given, "detail": what}]
    detail = f"Accept={given!r} {what}."
    headers = {"Vary": "Accept"}
    return Problem(406, "not-acceptable", "No such format is there", detail, headers=headers, errors=errors)
