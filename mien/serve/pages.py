"""Pages: the files that a page in the browser is made of, as routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from fastapi import FastAPI, Response

_HERE = Path(__file__).parent
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


def add_files(app: FastAPI, files: Mapping[str, str]) -> None:
    """Adds a route for each file, which is read now.

    Args:
        app: What gets the routes.
        files: Of each path in an address the file, as seen from this folder.
    """
    for path, name in files.items():
        file = _HERE / name
        app.add_api_route(path, _route(file.read_bytes(), _KINDS[file.suffix]), include_in_schema=False)


def _route(content: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    async def route() -> Response:
        return Response(content, media_type=kind)

    return route
