"""The default model, photos, and a server in a thread for browsers."""

import io
import threading
from collections.abc import Callable, Iterator

import pytest
import skimage.data
import uvicorn
from PIL import Image

from mien.data.readers import drawn
from mien.predict.predictor import Predictor
from mien.serve.app import make_app

ASTRONAUT = Image.fromarray(skimage.data.astronaut())  # 512 × 512, one face


def as_file(image: Image.Image, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    return Predictor.load("default", threads=1)


@pytest.fixture(scope="session")
def photo() -> bytes:
    return as_file(ASTRONAUT.crop((115, 10, 345, 240)), "JPEG")


@pytest.fixture(scope="session")
def empty() -> bytes:
    return as_file(Image.new("RGB", (64, 48), (90, 120, 150)))


@pytest.fixture(scope="session")
def crowd() -> bytes:
    """Three faces of different sizes, one beside the other."""
    head, picture = ASTRONAUT.crop((115, 10, 345, 240)), Image.new("RGB", (480, 230), "grey")
    for left, side in ((0, 230), (235, 140), (380, 100)):
        picture.paste(head.resize((side, side)), (left, 0))
    return as_file(picture)


@pytest.fixture(scope="session")
def crops() -> list[bytes]:
    return drawn.read(faces=24).values("image")


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready, self.address = threading.Event(), ""

    async def startup(self, sockets: list | None = None) -> None:
        await super().startup(sockets)
        self.address = f"http://127.0.0.1:{self.servers[0].sockets[0].getsockname()[1]}/"
        self.ready.set()


@pytest.fixture(scope="session")
def start(predictor: Predictor) -> Iterator[Callable[..., str]]:
    """Returns what starts a server and says its address; all end with the session."""
    running = []

    def start(**options: object) -> str:
        config = uvicorn.Config(make_app(predictor, **options), port=0, log_level="warning")
        server = _Server(config)
        thread = threading.Thread(target=server.run)
        running.append((server, thread))
        thread.start()
        assert server.ready.wait(10)
        return server.address

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def rows_of(predictor: Predictor) -> Callable[..., list[str]]:
    """Returns what gives the lines that `mien predict --json` prints for pictures by name."""

    def rows_of(pictures: dict[str, bytes], **options: object) -> list[str]:
        return predictor.predict(list(pictures.values()), names=list(pictures), **options).to_json().split("\n")

    return rows_of
