"""The contract as a document, without a server: what `openapi.json` beside this file holds, for those who generate.

What does not live here: what stands in it (`contract`, the nouns), the page that shows it (`docs`).
"""

import json
from typing import Any, cast

from webapi.app import close, create_app

NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"
"""Making an app connects to nothing, so the contract needs no database."""


def document() -> dict[str, Any]:
    """The OpenAPI document of a server that asks for tokens: it depends on no setting. One that asks for none answers
    the same without them.
    """
    app = create_app(database_url=NOWHERE)
    try:
        return cast(dict[str, Any], app.extensions["flask-smorest"]["apis"][""]["ext_obj"].document())
    finally:
        close(app)


def written() -> str:
    """The same as text, a line for each value: a change shows as what has changed."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"
