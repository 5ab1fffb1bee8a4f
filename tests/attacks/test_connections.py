"""Clients that are slow or send too much before any route sees them, and pages of other sites."""

import io
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest
import uvicorn
from PIL import Image
from starlette.testclient import TestClient

from mien.predict.model_folder import ModelConfig
from mien.predict.predictor import Predictor
from mien.serve.app import make_app
from mien.serve.connection import MAX_HEADERS, Connection
from mien.serve.guard import LOOPBACK, Guard
from mien.serve.metrics import Metrics


async def answer(scope: dict, receive: Callable, send: Callable) -> None:
    """The smallest application: 200 without a body, once the request's is there."""
    if scope["type"] == "http":
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})


class Server(uvicorn.Server):
    ready = threading.Event()

    async def startup(self, sockets: list | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@pytest.fixture(scope="module")
def connect() -> Iterator[Callable[[], socket.socket]]:
    """Returns what connects to a server whose clients have a tenth of a second for their headers."""
    config = uvicorn.Config(
        answer, port=0, log_level="critical", lifespan="off", timeout_keep_alive=60, http=partial(Connection, timeout_s=0.1)
    )
    server = Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    assert server.ready.wait(10)
    address = server.servers[0].sockets[0].getsockname()
    yield lambda: socket.create_connection(address, timeout=20)
    server.should_exit = True
    thread.join()


def read_all(client: socket.socket) -> bytes:
    """Returns what comes until the server closes the connection."""
    parts = []
    while part := client.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_a_whole_request_is_answered_and_the_next_may_come_later(connect: Callable) -> None:
    with connect() as client:
        for _ in range(3):
            client.sendall(REQUEST)
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")


BEGUN = (b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ", b"\r\n" * 5)


@pytest.mark.parametrize(("before", "sent"), [(b"", b""), *((before, sent) for before in (b"", REQUEST) for sent in BEGUN)])
def test_headers_that_do_not_come_whole_end_the_connection(connect: Callable, before: bytes, sent: bytes) -> None:
    with connect() as client:
        client.sendall(before)
        if before:
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
        client.sendall(sent)
        assert read_all(client) == b""


@pytest.mark.parametrize(
    "line", [b"X-A: " + b"a" * (1 << 20), b"X-A: b\r\n" * (1 << 17), b"a" * (1 << 20)], ids=["one", "many", "without a colon"]
)
def test_headers_that_are_too_large_are_refused(connect: Callable, line: bytes) -> None:
    with connect() as client:
        try:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + line)
            said = read_all(client)
        except ConnectionError:  # closed while we were sending
            return
        assert said.startswith(b"HTTP/1.1 400") and (f"{MAX_HEADERS:,}".encode() in said or b"Invalid" in said)


def test_whole_headers_that_are_too_large_are_refused_too(connect: Callable) -> None:
    with connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * (MAX_HEADERS + 1) + b"\r\n\r\n")
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 400")


CHUNKED = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "frame",
    [
        b"0\r\nX-A: " + b"a" * (1 << 20),
        b"0\r\n" + b"X-A: b\r\n" * (1 << 17),
        b"1;" + b"a" * (1 << 20),
        b"1\r\na\r\n" * (1 << 17),
    ],
    ids=["a field after it", "many fields after it", "a chunk's extension", "chunks of one byte"],
)
def test_what_frames_a_body_is_limited(connect: Callable, frame: bytes) -> None:
    with connect() as client:
        try:
            client.sendall(CHUNKED + frame)
            said = read_all(client)
        except ConnectionError:  # closed while we were sending
            return
        assert said.startswith(b"HTTP/1.1 400")


def test_a_body_in_small_chunks_is_taken_and_the_next_request_too(connect: Callable) -> None:
    with connect() as client:
        for _ in range(2):
            client.sendall(CHUNKED + b"a\r\n0123456789\r\n" * (1 << 17) + b"0\r\n\r\n")
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("body", [b"a" * 11, iter([b"a"])], ids=["too large", "of a length that is not told"])
def test_a_body_past_the_guard_s_bound_is_refused_before_it_is_read(body: bytes | Iterator[bytes]) -> None:
    async def read(scope: dict, receive: Callable, send: Callable) -> None:
        pytest.fail("was read")

    guard = Guard(read, hosts=LOOPBACK, token=None, metrics=Metrics(), max_bytes=10)
    assert TestClient(guard, base_url="http://localhost").post("/decide", content=body).status_code == 413


# ---------------------------------------------------------------------- pages of other sites, names of files


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """A client of a server whose model thinks all classes equally probable."""
    config = ModelConfig({"encoder": "none"}, ("calm", "glad"), 8, 1)
    predictor = Predictor(config, lambda faces: np.zeros((len(faces), 2), np.float32), "even")
    with TestClient(make_app(predictor), base_url="http://localhost") as client:
        yield client


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "PNG")
    return file.getvalue()


def post(client: TestClient, name: str = "a.png", **headers: str) -> object:
    return client.post("/v1/predict?cropped=true", files=[("files", (name, picture()))], headers=headers)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", "file://"])
def test_what_a_page_of_another_site_posts_is_refused(client: TestClient, origin: str) -> None:
    response = post(client, origin=origin)
    assert response.status_code == 403 and "page of" in response.json()["detail"]


@pytest.mark.parametrize("origin", ["http://localhost:8000", "http://127.0.0.1:8000", "http://[::1]:8000"])
def test_what_the_own_page_posts_is_answered(client: TestClient, origin: str) -> None:
    assert post(client, origin=origin).status_code == 200


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "<script>alert(1)</script>.png", "a\u202eb"])
def test_a_file_s_name_is_a_text_and_no_place(client: TestClient, name: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    response = post(client, name)
    assert response.status_code == 200 and response.headers["content-type"] == "application/json"
    assert [row["sample"] for row in response.json()["predictions"]] == [name]
    assert list(tmp_path.iterdir()) == []
