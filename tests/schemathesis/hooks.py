"""What schemathesis cannot know of this API; it reads this file by itself (tests/api/test_schemathesis.py names it).

OpenAPI says of each parameter what is allowed, but not of two what they mean together, nor how long all of them may be.
The API tells such refusals by a problem type and a status of their own: everything else that the contract allows must
be accepted.
"""

from typing import Any

import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance

UNSUITED = "urn:telemetry:problem:unsuitable-parameter"


@schemathesis.check
def allowed_is_accepted(ctx: Any, response: Any, case: Any) -> bool | None:
    """schemathesis' own check of accepted data, but for what parameters are together, and what is over (410)."""
    if response.status_code in (410, 414) or (response.status_code == 422 and response.json()["type"] == UNSUITED):
        return None
    return positive_data_acceptance(ctx, response, case)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Let streams end: as soon as they may, unless they are asked for in a way that is refused."""
    if case.operation.path.endswith("/stream") and str((case.query or {}).get("max_seconds", "1")).isdecimal():
        case.query = {**(case.query or {}), "max_seconds": "1"}


@schemathesis.deserializer("text/csv", "application/x-ndjson", "text/event-stream")
def lines(ctx: Any, response: Any) -> str:
    """What the contract calls a text, without looking into it."""
    return str(response.text)
