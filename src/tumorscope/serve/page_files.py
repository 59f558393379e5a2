"""Serves the page's files compressed; browsers keep them as long as they are the same."""

import gzip
import hashlib
import mimetypes
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_WORTH_COMPRESSING: Final = (".css", ".html", ".js", ".svg", ".txt")


def page_routes(folder: Path) -> list[Route]:
    """Return routes for the page at `/` and for its other files below `/assets/HASH/`.

    The hash is that of all the files, so a file's address changes with what it says, and browsers
    may keep it for ever. The page itself is asked for each time.

    Args:
        folder: Holds `index.html`, which names the others without a leading slash.
    """
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    assets = f"assets/{digest.hexdigest()[:16]}"
    page = _with_prefix(files.pop("index.html").decode(), files, assets).encode()
    return [
        file_route("/", page, cache="no-cache"),
        *(
            file_route(f"/{assets}/{name}", content, cache="public, max-age=31536000, immutable")
            for name, content in files.items()
        ),
    ]


def _with_prefix(page: str, names: Iterable[str], prefix: str) -> str:
    for name in names:
        for attribute in ("href", "src"):
            page = page.replace(f'{attribute}="{name}"', f'{attribute}="{prefix}/{name}"')
    return page


def file_route(path: str, content: bytes, *, cache: str) -> Route:
    """Return a route that answers with a file.

    Args:
        path: Where; its ending says what kind of file it is, and `/` is an HTML page.
        content: The file.
        cache: The header `Cache-Control`.
    """
    kind = mimetypes.guess_type("index.html" if path == "/" else path)[0]
    worth = path == "/" or path.endswith(_WORTH_COMPRESSING)
    packed = gzip.compress(content, mtime=0) if worth else None
    etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'

    async def answer(request: Request) -> Response:
        headers = {"Cache-Control": cache, "ETag": etag, "Vary": "Accept-Encoding"}
        if etag in request.headers.get("if-none-match", ""):  # (Proxies make it weak: W/"...".)
            return Response(status_code=304, headers=headers)
        body = content
        if packed is not None and _takes_gzip(request.headers):
            body, headers["Content-Encoding"] = packed, "gzip"
        return Response(body, media_type=kind or "application/octet-stream", headers=headers)

    return Route(path, answer, methods=["GET"], include_in_schema=False)


def _takes_gzip(headers: Headers) -> bool:
    offered = headers.get("accept-encoding", "").lower().split(",")
    return any(item.partition(";")[0].strip() == "gzip" for item in offered)
