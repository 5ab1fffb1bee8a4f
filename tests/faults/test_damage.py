"""Changed bytes of what was written are noticed, in one sentence, or change nothing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mien.data.pack import pack
from mien.data.places import read_picture
from mien.data.readers import drawn
from mien.data.table import SampleTable
from mien.errors import ImageError, TableError
from mien.predict.predictions import Predictions

from . import harness, works

FILES = (
    "faces.parquet",
    "packed/images-00000.parquet",
    "packed/manifest.json",
    "run/predictions/select.parquet",
    "run/checkpoints/last.pt",
    "run/model/model.safetensors",
    "run/model/config.json",
    "run/recipe.yaml",
    "run/data.json",
    "run/metrics.jsonl",
)


@pytest.fixture(scope="module")
def trained(worker: object, start: Callable) -> Path:
    """A folder with a table, its pictures packed, and a finished run."""
    folder = start()
    for work in (works.TRAIN, works.PACK):
        assert works.do(worker, work, folder).code == 0
    table = folder / "faces.parquet"
    content = table.read_bytes()
    table.unlink()
    table.write_bytes(content)
    for name in ("recipe.yaml", "data.json"):
        (folder / "run" / "kept").mkdir(exist_ok=True)
        shutil.copy(folder / "run" / name, folder / "run" / "kept")
    return folder


@pytest.mark.parametrize("file", FILES)
def test_changed_bytes_are_noticed_or_change_nothing(worker: object, trained: Path, file: str) -> None:
    damage = Path(__file__).with_name("damage.py")
    outcome = worker.run(f"{damage}:judge", trained / file, file, 3, harness.kills(1.5), folder=trained)
    assert outcome.code == 0 and "Traceback" not in outcome.said, outcome.said
    found = json.loads(outcome.said.splitlines()[-1])
    assert found["other"] == 0 and found["refused"] > 0, found
    print(file, found)


def turn(path: Path, found: bytes, place: int, bits: int) -> None:
    """Turns bits of one byte of what is found in the footer of a Parquet file, which its checksums leave out."""
    content = bytearray(path.read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[content.index(found, footer) + place] ^= bits
    path.write_bytes(content)


COUNT = b"\x16\x08\x26\x08"  # of the four rows of the first row group, and where it begins


@pytest.mark.parametrize(("found", "place", "bits"), [(b"owner_split", 0, 1), (b"owner_split", 0, 0x80), (COUNT, 1, 8)])
def test_a_table_whose_footer_lost_a_name_or_rows_is_refused(tmp_path: Path, found: bytes, place: int, bits: int) -> None:
    drawn.read(faces=4).write(tmp_path / "t.parquet")
    turn(tmp_path / "t.parquet", found, place, bits)
    with pytest.raises(TableError, match=r"t\.parquet: .*\. "):
        SampleTable.read(tmp_path / "t.parquet")


@pytest.mark.parametrize(("found", "place", "bits"), [(b"status", 0, 1), (b"status%\0L\x1c", 9, 4), (COUNT, 1, 8)])
def test_predictions_whose_footer_lost_a_name_a_type_or_rows_are_refused(
    tmp_path: Path, found: bytes, place: int, bits: int
) -> None:
    probs = np.full((4, 2), 0.5, np.float32)
    Predictions(tuple("abcd"), probs, ("calm", "glad")).write(tmp_path / "p.parquet")
    turn(tmp_path / "p.parquet", found, place, bits)
    with pytest.raises(TableError, match=r"p\.parquet: not a file of predictions"):
        Predictions.read(tmp_path / "p.parquet")


@pytest.mark.parametrize(("found", "place", "bits"), [(b"image", 0, 0x80), (COUNT, 1, 0x18)])
def test_a_picture_of_a_shard_whose_footer_is_damaged_is_a_broken_picture(
    tmp_path: Path, found: bytes, place: int, bits: int
) -> None:
    pack(drawn.read(faces=4), tmp_path)
    turn(tmp_path / "images-00000.parquet", found, place, bits)  # the count is eight then
    with pytest.raises(ImageError, match=r"images-00000\.parquet is damaged"):
        read_picture(tmp_path / "images-00000.parquet#5", 1000)
