"""Serves the API's description for people: Swagger UI, from the package, without a foreign host."""

from pathlib import Path
from typing import Final

import swagger_ui_bundle
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tumorscope.serve.page_files import file_route

_NAMES: Final = ("swagger-ui.css", "swagger-ui-bundle.js")

_PAGE: Final = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Tumorscope: the API</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="docs/swagger-ui.css"></head>
<body><div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script><script src="docs/start.js"></script></body>
</html>
"""

_START: Final = """\
fetch("openapi.json").then((answer) => answer.json()).then((spec) =>
  SwaggerUIBundle({ spec: { ...spec, openapi: "3.0.3" }, dom_id: "#swagger-ui" }));
"""
"""Swagger UI 4 refuses the version 3.1, but shows all that this description takes from it."""

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Swagger UI sets styles of its own; the page of the service may not."""


def docs_routes() -> list[Route]:
    """Return routes for `/docs` and what it loads."""
    folder = Path(swagger_ui_bundle.swagger_ui_path)

    async def page(_: Request) -> Response:
        return Response(_PAGE, media_type="text/html", headers={"Content-Security-Policy": _POLICY})

    return [
        Route("/docs", page, methods=["GET"], include_in_schema=False),
        file_route("/docs/start.js", _START.encode(), cache="no-cache"),
        *(
            file_route(f"/docs/{name}", (folder / name).read_bytes(), cache="no-cache")
            for name in _NAMES
        ),
    ]
