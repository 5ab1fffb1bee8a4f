"""Connection: what a client may do before its request is complete, where no route sees it yet."""

from __future__ import annotations

import asyncio
from typing import Any

from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Bytes of a request's line and headers, as h11 in uvicorn has it, and again of what frames a body that comes in chunks, and
# follows it, beyond one byte for each of the body; httptools itself has no limit.
MAX_HEADERS = 1 << 16


class Connection(HttpToolsProtocol):
    """uvicorn's connection, closed when a request's headers do not come whole in time, or are too large.

    Args:
        timeout_s: For the headers of a request to arrive, from the connection's or their own first byte on.
        given: What uvicorn gives.
    """

    def __init__(self, *, timeout_s: float, **given: Any) -> None:
        super().__init__(**given)
        self._timeout_s = timeout_s
        self._waiting: asyncio.TimerHandle | None = None
        self._num_bytes = 0  # of this request, that are no body yet

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Waits for headers."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Reads on; between two requests, whatever comes counts as the next one's headers until they are complete."""
        if self._waiting is None and self.cycle is not None and self.cycle.response_complete:
            self._wait()
        self._num_bytes += len(data)
        super().data_received(data)
        if self._num_bytes > MAX_HEADERS and not self.transport.is_closing():
            self._wait_no_more()
            self.send_400_response(f"The headers have more than {MAX_HEADERS:,} bytes.")

    def on_headers_complete(self) -> None:
        """Hands the request on, unless its headers, which may have come in one piece, are too large."""
        self._wait_no_more()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEADERS:
            raise HttpParserError  # is answered with 400
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Hands a piece of the body on, unless its answer is there already."""
        if not self.cycle.response_complete:
            self._num_bytes -= 2 * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Ends the request."""
        self._num_bytes = 0
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits for nothing more."""
        self._wait_no_more()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._num_bytes = 0
        self._waiting = self.loop.call_later(self._timeout_s, self.timeout_keep_alive_handler)  # closes the connection

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
