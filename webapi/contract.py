"""What makes the generated OpenAPI document say what the API does: problems, parameters, examples.

Every noun is a `Blueprint` of this file. What does not live here: the nouns, the pages that show the document (`docs`).
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from http import HTTPStatus
from typing import Any, NoReturn

import flask_smorest  # type: ignore[import-untyped]  # the library has no types
from flask import Response, g, request
from marshmallow import RAISE, Schema, ValidationError, fields
from webargs.flaskparser import FlaskParser
from webargs.multidictproxy import MultiDictProxy
from werkzeug import Request

from telemetry import __version__
from webapi.bodies import formats, tables
from webapi.bodies.accept import preferred
from webapi.bodies.conditional import tagged, unchanged
from webapi.finish import as_served, finished
from webapi.problems import MEDIA_TYPE, Fault, invalid, stranger, urn
from webapi.schemas import ProblemSchema
from webapi.security import auth
from webapi.services import services

VERSION = "v1"

CONFIG: Mapping[str, Any] = {
    "API_TITLE": "GPU telemetry",
    "API_VERSION": __version__,
    "OPENAPI_VERSION": "3.1.0",
    "OPENAPI_URL_PREFIX": "/",
    "OPENAPI_JSON_PATH": "openapi.json",
    "API_SPEC_OPTIONS": {
        "info": {
            "description": "Telemetry of GPU fleets, as DCGM reports it. Every error is an RFC 9457 problem that says "
            "what would be right. Lists are paged by the `Link` header; a cursor is bound to its filters.",
        },
        "servers": [{"url": "/", "description": "This server"}],
        "components": {"securitySchemes": auth.SCHEMES},
    },
}

Refusal = tuple[str, str, str]
"""What a problem says: the last part of its type, its title, and a detail as an example."""

_REFUSALS: Mapping[int, Refusal] = {
    **auth.REFUSALS,
    404: (
        "unknown-gpu",
        "No GPU has this id",
        "No GPU is called 'GPU-x'; 247 GPUs have telemetry, one is GPU-5fd4f087-.",
    ),
    406: (
        "not-acceptable",
        "No such format is there",
        "Accept='image/png' names nothing that there is: application/json, text/csv, application/x-ndjson; name one of "
        "these, or ask for format=json, which wins.",
    ),
    422: (
        "invalid-parameter",
        "A parameter is not valid",
        "limit='x' is not a whole number from 1 to 100000, as in limit=500.",
    ),
    503: ("database-away", "The database cannot answer now", "The database cannot be reached now; send it again."),
}
_ANY_OTHER: Refusal = (
    "method-not-allowed",
    "Method Not Allowed",
    "PUT is not for /api/v1/gpus; it takes GET, HEAD, OPTIONS.",
)
_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string", "examples": ["5"]}},
}
_HEADERS = {401: auth.CHALLENGE, 403: auth.CHALLENGE, 429: _RETRY_AFTER, 503: _RETRY_AFTER}

PAGE_HEADERS: Mapping[str, Any] = {
    "Link": {
        "description": 'The next page (`rel="next"`), relative to the URL of the request; absent on the last one.',
        "schema": {"type": "string", "examples": ['<?limit=500&cursor=WyJhIl0>; rel="next"']},
    }
}


class QueryParser(FlaskParser):
    """Reads query parameters; what is wrong becomes a problem that names each of them."""

    DEFAULT_UNKNOWN_BY_LOCATION = {**FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION, "query": RAISE}  # noqa: RUF012

    def load_querystring(self, req: Request, schema: Schema) -> Any:
        """The parameters. One that is given twice, and is no list, is ambiguous: refused."""
        lists = {name for name, field in schema.load_fields.items() if isinstance(field, fields.List)}
        twice = [
            name for name, values in req.args.lists() if len(values) > 1 and name in schema.load_fields.keys() - lists
        ]
        if twice:
            raise invalid((name, None, "is given more than once; give it once") for name in twice)
        return MultiDictProxy(req.args, schema)

    def handle_error(
        self, error: ValidationError, req: Request, schema: Schema, *, error_status_code: Any, error_headers: Any
    ) -> NoReturn:
        """Answer 422 with every parameter that is wrong."""
        raise invalid(_faults(error.messages_dict["query"], req, schema))


def _faults(messages: Mapping[str, Any], req: Request, schema: Schema) -> Iterator[Fault]:
    """One by one, for they are looked at only as far as an answer names them."""
    for name, told in messages.items():
        values = req.args.getlist(name)
        if name not in schema.load_fields:
            yield name, values[0], stranger(name, schema.load_fields)
        elif isinstance(told, dict):  # a list: what is wrong, by place
            yield from ((name, values[place], texts[0]) for place, texts in told.items())
        else:
            yield name, values[0] if len(values) == 1 else None, told[0]


class Blueprint(flask_smorest.Blueprint):
    """A noun of the API."""

    ARGUMENTS_PARSER = QueryParser()

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._prepare_doc_cbks.insert(0, self._security)

    def refuses(self, *statuses: int, told: Mapping[int, Refusal] | None = None) -> Callable[[Any], Any]:
        """Document the problems that an operation may answer with, each with an example; `told`: in its own words."""
        found = {**{status: _REFUSALS[status] for status in statuses}, **(told or {})}

        def decorate(function: Any) -> Any:
            for status in sorted(found, reverse=True):
                function = self._refusal(status, found[status])(function)
            return function

        return decorate

    def lists(self, schema: type[Schema], description: str, example: Mapping[str, Any], **more: Any) -> Any:
        """Document an answer of `answers.listing` in all its formats: objects of one kind; `example` is one of them."""

        def decorate(function: Any) -> Any:
            whole = self.response(200, schema(many=True), description=description, example=[example], **more)
            return whole(self.in_lines([example], description, **more)(function))

        return decorate

    def lists_either(
        self, kinds: Mapping[str, tuple[type[Schema], Mapping[str, Any]]], description: str, **more: Any
    ) -> Any:
        """Document such an answer where its objects are all of one of several kinds: of each its schema and an example,
        by what it is called; the first one is the usual one.
        """
        schema = {"type": "array", "items": {"anyOf": [kind for kind, _ in kinds.values()]}}
        examples = {name: {"value": [example]} for name, (_, example) in kinds.items()}
        usual = next(iter(kinds.values()))[1]

        def decorate(function: Any) -> Any:
            whole = self.response(200, schema, description=description, examples=examples, **more)
            return whole(self.in_lines([usual], description, **more)(function))

        return decorate

    def in_lines(self, rows: Sequence[Mapping[str, Any]], description: str, **more: Any) -> Callable[[Any], Any]:
        """Document the other formats of such an answer, with these rows for an example.

        A client that takes none of the formats is refused before anything is asked.
        """
        columns = list(rows[0])
        examples = {formats.CSV: tables.csv(rows, columns), formats.NDJSON: tables.ndjson(rows)}

        def decorate(function: Any) -> Any:
            @wraps(function)
            def listing(*args: Any, **kwargs: Any) -> Any:
                if "format" not in request.args:
                    preferred(formats.MEDIA_TYPES)
                g.columns = columns  # what the header of CSV says where no row does
                return function(*args, **kwargs)

            described = self.refuses(406)(listing)
            for kind, text in examples.items():
                described = self.alt_response(
                    200,
                    schema={"type": "string"},
                    content_type=formats.MEDIA_TYPES[kind].partition(";")[0],
                    description=description,
                    example=text.decode(),
                    success=True,
                    **more,
                )(described)
            return described

        return decorate

    def _security(self, doc: dict[str, Any], info: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Document which token an operation needs, and what is answered without it."""
        if not (security := auth.documented(info)):
            return {**doc, "security": []}
        refused = self.refuses(*auth.REFUSALS)(lambda: None)._apidoc["response"]["responses"]
        responses = info.setdefault("response", {}).setdefault("responses", {})
        info["response"]["responses"] = {**refused, **responses}
        return {**doc, "security": security}

    def _refusal(self, status: int, told: Refusal) -> Callable[[Any], Any]:
        return self.alt_response(  # type: ignore[no-any-return]  # the library has no types
            status,
            schema=ProblemSchema,
            content_type=MEDIA_TYPE,
            description=told[1],
            example=_example(status, told),
            headers=_HEADERS.get(status),
        )


def _example(status: int, told: Refusal) -> dict[str, Any]:
    """The problem, as it is sent."""
    slug, title, detail = told
    return {
        "type": urn(slug),
        "title": title,
        "status": status,
        "detail": detail,
        "instance": "urn:telemetry:request:7f3a",
        "request_id": "7f3a",
    }


class Api(flask_smorest.Api):
    """The document. Errors are answered by `problems`, so the library's own handler is left out."""

    ERROR_SCHEMA = ProblemSchema

    def __init__(self, *args: Any, **more: Any) -> None:
        self._making, self._made = threading.Lock(), None  # type: threading.Lock, tuple[bytes, str] | None
        super().__init__(*args, **more)

    def _register_error_handlers(self) -> None:
        return

    def _register_responses(self) -> None:
        content = {MEDIA_TYPE: {"schema": self.ERROR_SCHEMA}}
        for status in HTTPStatus:
            self.spec.components.response(status.name, {"description": status.phrase, "content": content}, lazy=True)
        any_other = {MEDIA_TYPE: {"schema": self.ERROR_SCHEMA, "example": _example(405, _ANY_OTHER)}}
        default = {"description": "Any other problem", "content": any_other}
        self.spec.components.response(self.DEFAULT_ERROR_RESPONSE_NAME, default, lazy=True)

    def _register_pagination_header(self) -> None:
        return

    def document(self) -> dict[str, Any]:
        """The contract, as it is written: of a server that asks for tokens."""
        return finished(self.spec.to_dict())

    def _body(self) -> tuple[bytes, str]:
        """What holds of it here, as bytes, and their tag. Made at the first question, when all nouns are in it, and
        only once: it takes long, and anybody may ask for it.
        """
        with self._making:
            if self._made is None:
                body = json.dumps(self._as_served(), indent=2, ensure_ascii=False).encode()
                self._made = body, hashlib.blake2b(body, digest_size=16).hexdigest()
            return self._made

    def _as_served(self) -> dict[str, Any]:
        return as_served(self.document(), services().options)

    @auth.open_to_all
    def _openapi_json(self) -> Response:
        body, tag = self._body()
        return unchanged(tag) or tagged(Response(body, content_type="application/json"), tag)
