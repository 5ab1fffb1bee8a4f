"""Work on Ray's workers: a real local Ray, started and stopped here, gives the same rows, also when it loses a worker."""

import os
import signal
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from mien.data.readers import drawn
from mien.data.work import each
from mien.errors import ImageError
from mien.faces import aligned
from mien.faces.align import align
from mien.faces.detect import MTCNN
from mien.predict import parts
from mien.predict.ask import predict
from mien.predict.parts import predict_in_parts
from mien.predict.predictions import Predictions

ray = pytest.importorskip("ray", reason="[scale] is not installed")


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two workers; what Ray keeps about itself goes with the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # 15 else, for which a busy machine has no time
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            object_store_memory=80_000_000,
        )
        yield
        ray.shutdown()


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART", 3)
    monkeypatch.setattr(aligned, "PART", 1)


def test_answers_are_those_of_one_process(tmp_path: Path, folder: Path) -> None:
    table = tmp_path / "table.parquet"
    drawn.read(faces=8, seed=2).with_column("split", ["report"] * 8).write(table)
    found = {}
    for engine in ("here", "ray"):
        out = tmp_path / f"{engine}.parquet"
        assert sum(map(len, predict([table], model=str(folder), out=out, engine=engine))) == 8
        found[engine] = Predictions.read(out).to_arrow()
    assert found["here"].equals(found["ray"])


def test_aligned_faces_are_those_of_one_process(tmp_path: Path) -> None:
    photo = Image.fromarray(skimage.data.astronaut()[:240, 120:320])
    (tmp_path / "photos").mkdir()
    photo.save(tmp_path / "photos" / "a.png")
    photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "photos" / "b.png")
    (tmp_path / "photos" / "c.png").write_bytes(b"no picture")
    found = {}
    for engine in ("here", "ray"):
        made = align([tmp_path / "photos"], tmp_path / engine, detector=MTCNN(threads=1), size=24, engine=engine)
        digests = [zlib.crc32(made.table.image_path(row).read_bytes()) for row in range(len(made.table))]
        found[engine] = (made.table.columns.to_pylist(), digests, made.without)
    assert found["here"] == found["ray"] and len(found["ray"][1]) == 2


def test_a_killed_worker_costs_one_part_and_no_row(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()

    def ask(rows: range) -> Predictions:
        (marks / f"{rows.start}-{os.getpid()}").touch()
        if rows.start == 6 and len(list(marks.glob("6-*"))) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        probs = np.array([[1 / (row + 1), 1 - 1 / (row + 1)] for row in rows], np.float32)
        return Predictions(tuple(f"face {row}" for row in rows), probs, ("calm", "glad"))

    out = tmp_path / "p.parquet"
    made = predict_in_parts(ask, 12, out, {"model": "m"}, engine="ray")
    first = [next(made), next(made)]
    made.close()  # as if the driver had been stopped
    before = {path.name for path in marks.iterdir()}
    again = list(predict_in_parts(ask, 12, out, {"model": "m"}, engine="ray", resume=True))
    after = {path.name for path in marks.iterdir()} - before
    assert len(list(marks.glob("6-*"))) >= 2  # the killed one and the one that took over
    assert not [name for name in after if name.startswith(("0-", "3-"))]  # what was there was not made again
    assert [part.samples for part in again[:2]] == [part.samples for part in first]
    assert Predictions.read(out).samples == tuple(f"face {row}" for row in range(12))


def test_a_worker_s_error_is_the_error_that_it_would_be_here() -> None:
    def fail(rows: range) -> None:
        raise ImageError(f"picture {rows.start}: broken. Remove it.")

    with pytest.raises(ImageError, match=r"^picture 3: broken. Remove it.$"):
        list(each(fail, [range(3, 4)], "ray"))
