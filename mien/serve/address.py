"""Address: a socket that has it, how URLs write it, and a server that says when it answers there."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn

from mien.errors import RunError
from mien.log import say
from mien.serve.connection import Connection


class Server(uvicorn.Server):
    """A server that says when it is ready.

    Args:
        config: What it serves, and how.
        ready: What it says then.
        tell: Whom.
    """

    def __init__(self, config: uvicorn.Config, ready: str, tell: Callable[[str], None] = say) -> None:
        super().__init__(config)
        self._ready, self._tell = ready, tell

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to listen."""
        await super().startup(sockets)
        self._tell(f"mien: {self._ready}")


def answer_at(listener: socket.socket, app: Any, ready: str, *, timeout_s: float, tell: Callable[[str], None] = say) -> None:
    """Lets an ASGI application answer until the process is told to stop; `timeout_s` is how long headers may take."""
    http: Any = partial(Connection, timeout_s=timeout_s)
    config = uvicorn.Config(
        app,
        http=http,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody asks where a request comes from
        timeout_graceful_shutdown=10,
    )
    Server(config, ready, tell).run(sockets=[listener])


def in_url(host: str) -> str:
    """Returns a host as URLs have it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that has the address.

    Raises:
        RunError: If it cannot be had.
    """
    if not 0 <= port < 1 << 16:
        raise RunError(f"serve: there is no port {port}. Expected 0 to 65535; 0 takes a free one.")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        if os.name == "posix":  # an address that was just given up can be had; elsewhere it would be shared
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen()
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise RunError(f"serve: {host}, port {port}: {error.strerror}. Choose another with --port or --host.") from None
    return listener
