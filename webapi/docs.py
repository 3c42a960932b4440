"""/swagger: the contract, shown in a browser. All of it comes from this server; nothing is fetched from elsewhere."""

from pathlib import Path

import flask_swagger_ui
from flask import Blueprint, Response, redirect, send_from_directory, url_for
from werkzeug.wrappers import Response as BaseResponse

from webapi.security.auth import open_to_all

blueprint = Blueprint("docs", __name__)

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Swagger UI sets styles on elements, hence 'unsafe-inline' there; its scripts are files."""

_ASSETS = Path(flask_swagger_ui.__file__).parent / "dist"

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>GPU telemetry API</title>
<link rel="stylesheet" href="swagger/assets/swagger-ui.css">
<link rel="icon" type="image/png" href="swagger/assets/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="swagger/assets/swagger-ui-bundle.js"></script>
<script src="swagger/start.js"></script>
</body>
</html>
"""

_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  persistAuthorization: true,
  tryItOutEnabled: true,
});
"""


@blueprint.get("/")
@open_to_all
def root() -> BaseResponse:
    """Lead to what a person can look at."""
    return redirect(url_for("docs.swagger"))


@blueprint.get("/swagger")
@open_to_all
def swagger() -> Response:
    """The page."""
    response = Response(_PAGE, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = CSP
    return response


@blueprint.get("/swagger/start.js")
@open_to_all
def start() -> Response:
    """The script that fills it: a file, because the policy allows no inline one."""
    return Response(_START, content_type="text/javascript; charset=utf-8")


@blueprint.get("/swagger/assets/<path:name>")
@open_to_all
def asset(name: str) -> Response:
    """A file of Swagger UI, from the wheel."""
    return send_from_directory(_ASSETS, name, max_age=3_600)
