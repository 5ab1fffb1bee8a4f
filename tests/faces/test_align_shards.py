"""Faces that several jobs cut are those of one call; an interrupted call goes on."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien import cli
from mien.data.table import SampleTable
from mien.errors import RecipeError, RunError
from mien.faces import aligned
from mien.faces.align import align
from mien.faces.align_table import align_table
from mien.faces.detect import Detections

BOXES = np.array([(5, 5, 25, 25)], np.float32)
POINTS = np.array([[(8, 8), (20, 8), (14, 14), (9, 20), (19, 20)]], np.float32)


class Once:
    """Finds one face in every picture, and counts them; is interrupted at a picture whose first pixel says so."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.stops_at: int | None = None

    def detect(self, image: np.ndarray) -> Detections:
        self.seen.append(int(image[0, 0, 0]))
        if self.seen[-1] == self.stops_at:
            raise KeyboardInterrupt
        return Detections(BOXES, np.ones(1, np.float32), POINTS)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for place in range(8):
        path = folder / ("wink" if place % 2 else "pain") / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(place).integers(0, 255, (40, 40, 3), np.uint8)
        pixels[0, 0] = place
        Image.fromarray(pixels).save(path)
    return folder


def test_shards_of_photos_make_the_rows_of_one_call(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.faces.detect.MTCNN", lambda **options: Once())
    call = ["align", str(photos), "--labels-from-folders", "--size", "16", "--out"]
    assert cli.main([*call, str(tmp_path / "whole")]) == 0
    for shard in ("2/3", "1/3", "3/3"):
        assert cli.main([*call, str(tmp_path / "parts"), "--shard", shard]) == 0
    tables = [str(tmp_path / "parts" / f"{place}-of-3" / "faces.parquet") for place in (1, 2, 3)]
    assert cli.main(["data", "merge", *tables, "--cut", "--out", str(tmp_path / "joined.parquet")]) == 0
    whole, joined = SampleTable.read(tmp_path / "whole" / "faces.parquet"), SampleTable.read(tmp_path / "joined.parquet")
    assert joined.classes == whole.classes == ("pain", "wink")
    for column in set(whole.columns.column_names) - {"path"}:
        assert joined.values(column).tolist() == whole.values(column).tolist(), column
    assert [joined.image_path(row).read_bytes() for row in range(8)] == [whole.image_path(row).read_bytes() for row in range(8)]


def test_shards_of_a_table_keep_its_splits_and_order(tmp_path: Path, photos: Path) -> None:
    paths = [path.relative_to(photos).as_posix() for path in sorted(photos.rglob("*.png"))]
    splits = ["train", "select", "report", "test"] * 2
    columns = {"sample": paths, "path": paths, "split": splits, "box": [BOXES[0]] * 8}
    table = SampleTable.from_columns(columns, classes=("pain", "wink"), root=photos)
    whole = align_table(table, tmp_path / "whole", size=16).table
    parts = [align_table(table, tmp_path / "parts", size=16, shard=f"{place}/2").table for place in (1, 2)]
    assert [sample for part in parts for sample in part.samples] == whole.samples == paths
    assert [path for part in parts for path in part.values("path")] == whole.values("path").tolist()
    with pytest.raises(RecipeError, match="nothing in shard 1/20 of 8"):
        align_table(table, tmp_path / "none", size=16, shard="1/20")


def test_an_interrupted_call_goes_on_with_the_photos_that_are_left(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aligned, "PART", 2)
    out, detector = tmp_path / "out", Once()
    whole = align([photos], tmp_path / "whole", detector=detector, size=16).table
    order = detector.seen
    detector.seen, detector.stops_at = [], order[5]
    with pytest.raises(KeyboardInterrupt):
        align([photos], out, detector=detector, size=16)
    assert not out.exists()
    detector.stops_at = None
    with pytest.raises(RunError, match=r"holds the parts of an interrupted call. Go on with --resume"):
        align([photos], out, detector=detector, size=16)
    with pytest.raises(RunError, match="begun with another options"):
        align([photos], out, detector=detector, size=17, resume=True)
    detector.seen = []
    found = align([photos], out, detector=detector, size=16, resume=True)
    assert sorted(detector.seen) == sorted(order[4:])
    assert found.table.columns.equals(whole.columns)
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "whole", "out"}
