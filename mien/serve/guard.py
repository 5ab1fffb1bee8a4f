"""Guard: what every request passes first and every response last: its id, the host's name, the token, headers, counts."""

from __future__ import annotations

import hmac
import re
import traceback
import uuid
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.log import say
from mien.serve.metrics import Metrics
from mien.serve.problem import Problem, problem_response

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
# What a browser asks for before it has a token, and what says nothing of anybody.
OPEN_PATHS = frozenset({"/", "/page.css", "/elements.js", "/page.js", "/healthz", "/readyz", "/openapi.json"})
_KNOWN_PATHS = OPEN_PATHS | {"/v1/predict", "/v1/models", "/metrics"}
_REQUEST_ID = re.compile(rb"[\w.-]{1,64}", re.ASCII)
HEADERS = {
    # Scripts, styles and requests from here alone; pictures also from the disk of whoever looks at the page.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


class Guard:
    """An ASGI application around another one.

    Args:
        app: What answers.
        hosts: Names by which the server may be called, in lower case.
        token: What a client must show, or null.
        metrics: Where requests are counted.
        max_bytes: Of a body, which must say how long it is; null: the application sees to it.
    """

    def __init__(
        self, app: ASGIApp, *, hosts: Collection[str], token: str | None, metrics: Metrics, max_bytes: int | None = None
    ) -> None:
        self.app, self.hosts, self.metrics, self.max_bytes = app, hosts, metrics, max_bytes
        self._expected = f"Bearer {token}".encode() if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request pass, or answers it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        name = given.decode() if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope["request_id"] = name
        path = scope["path"] if scope["path"] in _KNOWN_PATHS else "other"

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.metrics.count(path, message["status"])
                message["headers"] = [*message["headers"], *_HEADERS, (b"x-request-id", name.encode())]
            await send(message)

        try:
            self._check(path, headers)
        except Problem as problem:
            await problem_response(problem, name)(scope, receive, send_on)
            return
        try:
            await self.app(scope, receive, send_on)
        except Exception:  # has been answered with 500; whoever runs the server reads why
            say(f"mien: request {name} failed\n{traceback.format_exc()}")

    def _check(self, path: str, headers: dict[bytes, bytes]) -> None:
        """Raises Problem where a request may not pass."""
        host = _host(headers.get(b"host", b""))
        if host not in self.hosts:
            raise Problem(
                421, f"This server is not called {host[:100] or 'nothing'}. Start it with --allow-host to name it so."
            )
        origin = headers.get(b"origin")  # browsers send it with what a page posts
        if origin is not None and _host(origin.partition(b"://")[2]) not in self.hosts:
            raise Problem(403, f"A page of {origin[:100].decode('latin-1')} asked. Expected one of this server's own.")
        # Before FastAPI, which reads a whole body before it asks anybody.
        if self.max_bytes is not None and (
            b"transfer-encoding" in headers or int(headers.get(b"content-length", 0)) > self.max_bytes
        ):
            raise Problem(413, f"The body has more than {self.max_bytes:,} bytes. Send less.", limit="bytes")
        if self._expected is None or path in OPEN_PATHS:
            return
        if not hmac.compare_digest(headers.get(b"authorization", b""), self._expected):
            detail = "The token is missing or another one. Send the header Authorization: Bearer TOKEN."
            raise Problem(401, detail, headers={"WWW-Authenticate": "Bearer"})


def _host(text: bytes) -> str:
    """Returns the name in `name:port`."""
    return re.sub(r":\d*$", "", text.decode("latin-1")).lower()
