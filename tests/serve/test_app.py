"""The API: what it answers, what it refuses and how, and that whoever leaves frees a place."""

import asyncio
import json
import re
import threading
import zlib
from collections.abc import Awaitable, Callable, Iterator

import pytest
from starlette.testclient import TestClient

from mien.faces.detect import Detections
from mien.predict.predictor import Predictor
from mien.serve.app import make_app
from mien.serve.limits import Limits

TOKEN = "a token of many characters"


@pytest.fixture(scope="module")
def ask(predictor: Predictor) -> Iterator[TestClient]:
    with TestClient(make_app(predictor), base_url="http://localhost") as client:
        yield client


@pytest.fixture
def limited(predictor: Predictor) -> Iterator[Callable[..., TestClient]]:
    """Returns a client of a server with these limits."""
    clients = []

    def start(**limits: float) -> TestClient:
        clients.append(TestClient(make_app(predictor, limits=Limits(**limits)), base_url="http://localhost"))
        return clients[-1].__enter__()

    yield start
    for client in clients:
        client.__exit__(None, None, None)


def form(pictures: dict[str, bytes]) -> list[tuple]:
    return [("files", (name, content)) for name, content in pictures.items()]


def refused(response, status: int) -> dict:
    """Returns the problem of a response, once it is seen to be one."""
    problem = response.json()
    assert (response.status_code, problem["status"]) == (status, status)
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["request_id"] == response.headers["x-request-id"]
    return problem


# ---------------------------------------------------------------------- answers


@pytest.mark.parametrize("options", [{}, {"largest": True}], ids=["all", "largest"])
def test_photos_get_the_rows_of_predict(ask, rows_of, photo, empty, crowd, options):
    pictures = {
        "crowd.png": crowd,
        "wall.png": empty,
        "head.jpg": photo,
        "cut.jpg": photo[:2000],
        "no.txt": b"%!PS",
        "héad.jpg": photo,
    }
    answer = ask.post("/v1/predict", files=form(pictures), params=options).json()
    assert answer["predictions"] == [json.loads(line) for line in rows_of(pictures, **options)]
    assert (answer["model"], answer["level"]) == ("default", 0.9)


def test_faces_cut_out_before_get_the_rows_of_predict(ask, rows_of, crops):
    pictures = {f"{place}.png": crop for place, crop in enumerate(crops)}
    answer = ask.post("/v1/predict?cropped=true", files=form(pictures)).json()
    assert answer["predictions"] == [json.loads(line) for line in rows_of(pictures, cropped=True)]


def test_a_file_without_a_name_and_two_of_one_name_are_answered_too(ask, photo, empty):
    body = b"".join(
        b'--x\r\ncontent-disposition: form-data; name="files"%s\r\n\r\n%s\r\n' % part
        for part in ((b"", empty), (b'; filename="a#1"', photo), (b'; filename="a#1"', photo))
    )
    response = ask.post("/v1/predict", content=body + b"--x--", headers={"content-type": "multipart/form-data; boundary=x"})
    assert [row["sample"] for row in response.json()["predictions"]] == ["picture_00000", "a#1#1", "a#1#1"]


def test_the_model_says_what_it_is_without_saying_where_it_lies(ask):
    (model,) = ask.get("/v1/models").json()["models"]
    assert (model["name"], model["classes"][1]) == ("default", "happiness")
    assert "FERPlus" in model["licence"] and "/" not in model["source"]


def test_metrics_count_what_happened(predictor, photo):
    with TestClient(make_app(predictor), base_url="http://localhost") as client:
        client.post("/v1/predict", files=form({"a.jpg": photo}))
        client.get("/somewhere/else")
        lines = client.get("/metrics").text.splitlines()
    numbers = dict(line.rsplit(" ", 1) for line in lines if line[0] != "#")
    assert numbers['mien_requests_total{path="/v1/predict",status="200"}'] == "1"
    assert numbers['mien_requests_total{path="other",status="404"}'] == "1"
    assert numbers["mien_faces_total"] == numbers["mien_answer_seconds_count"] == numbers["mien_predict_calls_total"] == "1"
    assert numbers['mien_answer_seconds_bucket{le="+Inf"}'] == "1" and numbers["mien_places_taken"] == "0"


def test_the_page_loads_nothing_from_elsewhere_and_says_so_to_the_browser(ask):
    texts = [ask.get(path) for path in ("/", "/page.css", "/elements.js", "/page.js")]
    for response in texts:
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(| style=| on\w+=", response.text)
    assert "Expressions are perceived" in texts[0].text


def test_a_request_keeps_its_id_if_it_is_a_harmless_one(ask):
    assert ask.get("/healthz", headers={"x-request-id": "abc-1.2"}).headers["x-request-id"] == "abc-1.2"
    assert re.fullmatch("[0-9a-f]{32}", ask.get("/healthz", headers={"x-request-id": "a b"}).headers["x-request-id"])


# ---------------------------------------------------------------------- refusals


def test_what_is_no_picture_is_refused_with_predict_s_sentence(ask, rows_of):
    pictures = {"notes.txt": b"no picture"}
    assert refused(ask.post("/v1/predict", files=form(pictures)), 422)["detail"] == json.loads(*rows_of(pictures))["problem"]


def test_postscript_is_not_handed_to_pillow(ask, monkeypatch):
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("was run"))
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    assert "not a picture" in refused(ask.post("/v1/predict", files=form({"a.eps": script})), 422)["detail"]


@pytest.mark.parametrize(
    ("content", "kind", "status", "sentence"),
    [
        (b"{}", "application/json", 415, "The body is application/json. Expected multipart/form-data, as curl -F files="),
        (b"x", "", 415, "The body is of no type."),
        (b"x", "multipart/form-data", 400, "its boundary is missing"),
        (b"x", "multipart/form-data; boundary=x", 400, "no multipart form"),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=x", 400, "it ends too early"),
        (b"--x\r\nContent-Disp; \b\r\n", "multipart/form-data; boundary=x", 400, "no multipart form"),
        (b"--x--\r\n", "multipart/form-data; boundary=x", 400, "no"),
        (
            b'--x\r\ncontent-disposition: form-data; name="url"\r\n\r\nhttp://a\r\n--x--',
            "multipart/form-data; boundary=x",
            400,
            "'url'",
        ),
    ],
)
def test_a_body_that_is_no_form_of_files_is_refused_and_leaves_nothing_in_the_log(ask, caplog, content, kind, status, sentence):
    assert sentence in refused(ask.post("/v1/predict", content=content, headers={"content-type": kind}), status)["detail"]
    assert not [record for record in caplog.records if record.name.startswith("python_multipart")]


def test_a_parameter_of_another_type_is_refused_by_name(ask, photo):
    response = ask.post("/v1/predict?cropped=perhaps", files=form({"a.jpg": photo}))
    assert refused(response, 422)["detail"].startswith("query.cropped: ")


def test_too_much_is_refused_and_the_limit_named(limited, photo, crowd, empty):
    small = limited(max_bytes=15_000, max_files=3, max_pixels=230 * 230, max_faces=2)
    chunks = iter([b"--x\r\n", b"a" * 20_000])
    unknown_length = small.post("/v1/predict", content=chunks, headers={"content-type": "multipart/form-data; boundary=x"})
    assert refused(small.post("/v1/predict", files=form({"a.png": crowd})), 413)["limit"] == "bytes"
    assert refused(unknown_length, 413)["limit"] == "bytes"  # no header told its length
    assert refused(small.post("/v1/predict", files=form(dict.fromkeys("abcd", empty))), 413)["limit"] == "files"
    assert refused(small.post("/v1/predict", files=form({"a": photo, "b": empty})), 413)["limit"] == "pixels"
    assert small.post("/v1/predict", files=form({"a": photo})).status_code == 200
    few = limited(max_faces=2)
    assert refused(few.post("/v1/predict", files=form({"a.png": crowd})), 413)["limit"] == "faces"
    assert len(few.post("/v1/predict?largest=1", files=form({"a.png": crowd})).json()["predictions"]) == 1


def test_a_picture_that_says_it_is_immense_is_not_decoded(ask):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    for side in (10_000, 100_000):  # Pillow warns of the first and refuses the second
        header = side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
        bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
        assert refused(ask.post("/v1/predict", files=form({"bomb.png": bomb})), 413)["limit"] == "pixels"


def test_without_the_token_only_the_page_and_the_probes_answer(predictor, photo):
    with TestClient(make_app(predictor, token=TOKEN), base_url="http://localhost") as client:
        for header in ({}, {"authorization": "Bearer another"}, {"authorization": TOKEN}):
            response = client.post("/v1/predict", files=form({"a.jpg": photo}), headers=header)
            assert "Bearer TOKEN" in refused(response, 401)["detail"] and response.headers["www-authenticate"] == "Bearer"
        assert [client.get(path).status_code for path in ("/v1/models", "/metrics", "/x")] == [401, 401, 401]
        paths = ("/", "/elements.js", "/page.js", "/healthz", "/readyz", "/openapi.json")
        assert [client.get(path).status_code for path in paths] == [200] * 6
        assert client.get("/v1/models", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:8000", "", "127.0.0.1.evil.example"])
def test_a_foreign_host_name_is_refused(ask, host):
    refused(ask.get("/", headers={"host": host}), 421)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "[::1]"])
def test_this_machine_s_own_names_are_known(ask, host):
    assert ask.get("/healthz", headers={"host": host}).status_code == 200


def test_an_error_that_nobody_foresaw_is_told_to_the_log_alone(predictor, photo, capsys):
    broken = Predictor(predictor.config, lambda images: 1 / 0, "secret", predictor.detector)
    with TestClient(make_app(broken), base_url="http://localhost") as client:
        problem = refused(client.post("/v1/predict", files=form({"a.jpg": photo})), 500)
        assert "ZeroDivision" not in str(problem)
        log = capsys.readouterr().err
        assert problem["request_id"] in log and "ZeroDivisionError" in log
        assert client.get("/readyz").status_code == 200  # the thread lives


# ---------------------------------------------------------------------- those who wait, and those who leave


class Stuck:
    """A detector that tells when it is asked, and answers when it is let."""

    def __init__(self) -> None:
        self.asked, self.let, self.times = threading.Semaphore(0), threading.Event(), 0

    def detect(self, image) -> Detections:
        self.times += 1
        self.asked.release()
        assert self.let.wait(10)
        raise RuntimeError("nobody hears this")

    def detect_batch(self, images) -> list[Detections]:
        return [self.detect(image) for image in images]


class Request:
    """One POST to an ASGI application, whose messages the test sends one by one."""

    def __init__(self, app, body: bytes | None, path: str = "/v1/predict") -> None:
        self.messages: asyncio.Queue = asyncio.Queue()
        self.sent: list[dict] = []
        if body is not None:
            self.messages.put_nowait({"type": "http.request", "body": body})
        headers = [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=x")]
        scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""}
        self.done = asyncio.ensure_future(app({**scope, "app": app}, self.messages.get, self.send))

    async def send(self, message: dict) -> None:
        self.sent.append(message)

    def leave(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})

    async def status(self) -> int:
        await self.done
        return self.sent[0]["status"]


def with_stuck(predictor: Predictor, then: Callable[..., Awaitable[None]], **limits: float) -> None:
    """Runs a test in an event loop, with a server whose one thread is stuck in the detector."""
    stuck = Stuck()
    app = make_app(Predictor(predictor.config, predictor.engine, "stuck", stuck), limits=Limits(**limits))

    async def run() -> None:
        inner = app.app
        async with inner.router.lifespan_context(inner):
            try:
                await then(app, stuck)
            finally:
                stuck.let.set()

    asyncio.run(run())


def body_of(photo: bytes) -> bytes:
    return b'--x\r\ncontent-disposition: form-data; name="files"; filename="a"\r\n\r\n' + photo + b"\r\n--x--"


def test_when_all_places_are_taken_the_next_request_is_told_when_to_come_again(predictor, photo):
    async def then(app, stuck: Stuck) -> None:
        inside = [Request(app, body_of(photo)) for _ in range(2)]
        await asyncio.to_thread(stuck.asked.acquire)
        one_more = Request(app, body_of(photo))
        assert await one_more.status() == 429
        assert (b"retry-after", b"1") in one_more.sent[0]["headers"]
        inside[1].leave()  # while it waits for a thread
        assert await inside[1].status() == 499
        inside[0].leave()  # while it is answered
        assert await inside[0].status() == 499
        third = Request(app, body_of(photo))
        third.leave()
        assert await third.status() == 499  # it had a place
        assert stuck.times == 1  # nobody was searched for those who had left

    with_stuck(predictor, then, places=2)


def test_who_leaves_while_sending_frees_the_place(predictor, photo):
    async def then(app, stuck: Stuck) -> None:
        for _ in range(3):
            request = Request(app, None)
            request.messages.put_nowait({"type": "http.request", "body": body_of(photo)[:50], "more_body": True})
            request.leave()
            assert await request.status() == 499

    with_stuck(predictor, then, places=1)


def test_a_body_that_does_not_come_and_an_answer_that_does_not_come_end_in_time(predictor, photo):
    async def then(app, stuck: Stuck) -> None:
        assert await Request(app, None).status() == 408
        assert await Request(app, body_of(photo)).status() == 503
        assert await Request(app, None).status() == 408  # there was a place

    with_stuck(predictor, then, places=1, timeout_s=0.05)


def test_a_full_server_is_alive_but_not_ready(limited, predictor):
    async def then(app, stuck: Stuck) -> None:
        Request(app, None)
        await asyncio.sleep(0)
        client = TestClient(app, base_url="http://localhost")
        assert (client.get("/healthz").status_code, client.get("/readyz").status_code) == (200, 503)

    with_stuck(predictor, then, places=1)
