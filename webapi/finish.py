"""The last touch to the contract, for those who read it and for what is generated from it.

What lives here: how operations are grouped, what generators look for elsewhere, and what of it a server without tokens
leaves out. What does not: what stands in the contract (`contract`, the nouns).
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from webapi.options import ApiOptions
from webapi.problems import MEDIA_TYPE, urn
from webapi.security.auth import REFUSALS

GROUPS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "gpus": ("Which GPUs there are, and what one of them shows", ("gpus", "latest", "telemetry")),
    "fleet": (
        "Questions about all GPUs at once, or a part of them",
        ("inventory", "metrics", "fleet-telemetry", "top", "fleet"),
    ),
    "stream": ("Readings as they arrive", ("stream",)),
    "queue": ("The queue, and what died in it", ("queue", "dead")),
    "probes": ("Whether it works, and how it does", ("probes",)),
}
"""Groups, in the order in which they are shown: what each is about, and the blueprints in it. Others stay by
themselves. A generated client has a package for each."""


REQUEST_ID = {
    "description": "The id under which the server's log tells of this request: the client's own, if it sent one of up "
    "to 64 letters, digits, dots, underscores and hyphens in this header.",
    "required": True,
    "schema": {"type": "string", "examples": ["7f3a"]},
}
"""The header X-Request-ID, which every answer has."""


def finished(document: dict[str, Any]) -> dict[str, Any]:
    """The document, with its operations in groups, and what is so everywhere said everywhere."""
    return _grouped(_identified(deepcopy(document)))


def as_served(document: dict[str, Any], options: ApiOptions) -> dict[str, Any]:
    """The finished document with what holds by these options: whether tokens are asked for, and for what."""
    document = deepcopy(document)
    for operation in _operations(document):
        ways = [] if options.tokens is None else operation["security"]
        if {} in ways:  # as the options say
            ways = [way for way in ways if way] if options.metrics_auth else []
        if not ways:
            kept = {status: one for status, one in operation["responses"].items() if not _is_about_tokens(one)}
            operation["responses"] = kept
        operation["security"] = ways
    if options.tokens is None:
        document["components"].pop("securitySchemes", None)
    return document


def _is_about_tokens(response: Mapping[str, Any]) -> bool:
    """Whether it is for those who need one; an operation may refuse in its own words by the same status."""
    example = response.get("content", {}).get(MEDIA_TYPE, {}).get("example", {})
    return example.get("type") in {urn(slug) for slug, _, _ in REFUSALS.values()}


def _identified(document: dict[str, Any]) -> dict[str, Any]:
    """Every response has its id."""
    components = document.setdefault("components", {})
    responses = list(components.get("responses", {}).values())
    responses += [one for operation in _operations(document) for one in operation["responses"].values()]
    for response in responses:
        if "$ref" not in response:
            response.setdefault("headers", {})["X-Request-ID"] = {"$ref": "#/components/headers/RequestId"}
    components["headers"] = {**components.get("headers", {}), "RequestId": REQUEST_ID}
    return document


def _grouped(document: dict[str, Any]) -> dict[str, Any]:
    """Each operation in its group, and each parameter described where generators look for it too."""
    group_of = {noun: group for group, (_, nouns) in GROUPS.items() for noun in nouns}
    used: dict[str, None] = {}
    for operation in _operations(document):
        operation["tags"] = [group_of.get(tag, tag) for tag in operation["tags"]]
        used |= dict.fromkeys(operation["tags"])
        for parameter in operation.get("parameters", ()):
            if "description" in parameter:
                parameter["schema"] = {"description": parameter["description"], **parameter["schema"]}
    own = {tag["name"]: tag["description"] for tag in document["tags"]}
    told = own | {group: description for group, (description, _) in GROUPS.items()}
    order = [group for group in GROUPS if group in used] + [tag for tag in used if tag not in GROUPS]
    return {**document, "tags": [{"name": tag, "description": told[tag]} for tag in order]}


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for item in document["paths"].values():
        yield from (part for part in item.values() if isinstance(part, dict) and "operationId" in part)
