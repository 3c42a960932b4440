"""Links of the contract: which answer holds what another question asks for.

Readers see what to ask next, and tests that follow them ask what there is. What does not live here: the `Link` header,
which leads to the next page (`paging`).
"""

from collections.abc import Mapping
from typing import Any


def links(parameter: str, pointer: str, described: Mapping[str, str]) -> dict[str, Any]:
    """Documentation of a 200 with links to operations (name -> what is found there).

    Each is given the value at a JSON pointer of the answer as this parameter.
    """
    parameters = {parameter: f"$response.body#{pointer}"}
    found = {
        operation: {"operationId": operation, "parameters": parameters, "description": description}
        for operation, description in described.items()
    }
    return {"responses": {200: {"links": found}}}
