"""Packed pictures: the bytes that they were, at places that never move, also after an interruption or with damage."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mien import cli
from mien.data import pack as room
from mien.data import places
from mien.data.check import check, require_images
from mien.data.images import decode, load_images
from mien.data.pack import pack
from mien.data.readers import drawn
from mien.data.table import SampleTable
from mien.errors import RecipeError, RunError, TableError

NUM = 11


@pytest.fixture
def table(tmp_path: Path) -> SampleTable:
    """Twelve faces in eleven pictures: two are in the first."""
    made = drawn.read(faces=NUM + 1, seed=4)
    root = tmp_path / "root"
    root.mkdir()
    for row, content in enumerate(made.values("image")):
        (root / f"{row}.png").write_bytes(content)
    paths = ["0.png", *(f"{row}.png" for row in range(NUM))]
    boxes = [[0, 0, 20, 20], *([0, 0, 48, 48] for _ in range(NUM))]
    columns = made.columns.drop_columns("image")
    return SampleTable(columns, made.classes, made.vote_names, root).with_column("path", paths).with_column("box", boxes)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_faces_look_the_same_and_bytes_are_as_they_were(tmp_path: Path, table: SampleTable) -> None:
    made, missing = pack(table, tmp_path / "packed", rows=4)
    read = SampleTable.read(tmp_path / "packed")
    assert missing == [] and read.columns.equals(made.columns) and read.samples == table.samples
    np.testing.assert_array_equal(load_images(read, channels=1, size=48)[0], load_images(table, channels=1, size=48)[0])
    assert read.values("packed_path").tolist() == table.values("path").tolist()
    assert read.values("path").tolist()[:6] == [f"images-{n // 4:05}.parquet#{n % 4}" for n in (0, 0, 1, 2, 3, 4)]
    shards = [pq.read_table(path).to_pylist() for path in sorted((tmp_path / "packed").glob("images-*"))]
    assert [len(shard) for shard in shards] == [4, 4, 3]
    assert all(row["image"] == (table.root / row["name"]).read_bytes() for shard in shards for row in shard)
    assert check(read)["ok"]
    require_images(read)


def test_pictures_inside_a_table_and_a_packed_table_are_packed_too(tmp_path: Path) -> None:
    inside = drawn.read(faces=5, seed=1)
    pack(inside, tmp_path / "one")
    pack(SampleTable.read(tmp_path / "one"), tmp_path / "two", rows=2)
    two = SampleTable.read(tmp_path / "two")
    assert "image" not in two
    np.testing.assert_array_equal(load_images(two, channels=1, size=48)[0], load_images(inside, channels=1, size=48)[0])


def test_places_depend_on_pictures_and_limits_alone(tmp_path: Path, table: SampleTable) -> None:
    pack(table, tmp_path / "a", rows=4)
    relabelled = table.with_column("label", [table.classes[0]] * len(table))
    pack(relabelled, tmp_path / "b", rows=4)
    shards = [{name: content for name, content in contents(tmp_path / one).items() if "images" in name} for one in "ab"]
    assert shards[0] == shards[1]


def test_a_shard_ends_before_it_is_too_large(tmp_path: Path, table: SampleTable) -> None:
    size = max(path.stat().st_size for path in table.root.iterdir())
    pack(table, tmp_path / "packed", shard_mb=2.5 * size / 1e6)
    manifest = json.loads((tmp_path / "packed" / "manifest.json").read_text())
    assert sum(shard["pictures"] for shard in manifest["shards"]) == NUM
    assert all(1 <= shard["pictures"] <= 4 for shard in manifest["shards"]) and len(manifest["shards"]) > 2
    pack(table, tmp_path / "tiny", shard_mb=1e-6)  # each is larger than that, and alone
    assert len(list((tmp_path / "tiny").glob("images-*"))) == NUM


def test_one_row_is_read_without_the_others(tmp_path: Path, table: SampleTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_GROUP", 2)
    made, _ = pack(table, tmp_path / "packed")
    path = tmp_path / "packed" / "images-00000.parquet"
    content = bytearray(path.read_bytes())
    content[content.index((table.root / "4.png").read_bytes()) + 30] ^= 1
    path.write_bytes(content)
    _, broken = load_images(made, channels=1, size=48)
    assert sorted(broken) == made.samples[5:7]  # pictures 4 and 5 are read together, and their checksum is wrong
    assert "images-00000.parquet is damaged" in broken[made.samples[5]]
    assert places._starts(path, path.stat().st_mtime_ns) == [0, 2, 4, 6, 8, 10, 11]


def test_an_interrupted_call_is_no_table_and_goes_on_to_the_same_files(
    tmp_path: Path, table: SampleTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(table, tmp_path / "whole", rows=4)
    seen: list[str] = []

    def read(path: Path, most: int) -> bytes:
        seen.append(path.name)
        if path.name == "9.png":
            raise KeyboardInterrupt
        return places.read_picture(path, most)

    out = tmp_path / "packed"
    monkeypatch.setattr(room, "read_picture", read)
    with pytest.raises(KeyboardInterrupt):
        pack(table, out, rows=4)
    assert {path.name for path in out.iterdir()} == {"manifest.json", "images-00000.parquet", "images-00001.parquet"}
    with pytest.raises(TableError, match=r"packing was interrupted. Go on with: mien data pack … --out .* --resume"):
        SampleTable.read(out)
    with pytest.raises(RunError, match="go on with --resume"):
        pack(table, out, rows=4)
    with pytest.raises(RunError, match="begun with other pictures or limits"):
        pack(table, out, rows=5, resume=True)
    half = (out / "images-00001.parquet").read_bytes()[:-40]  # as a full disk leaves it
    (out / "images-00001.parquet").write_bytes(half)
    (out / "images-00002.parquet").write_bytes(b"never acknowledged")
    seen.clear()
    monkeypatch.setattr(room, "read_picture", lambda path, most: seen.append(path.name) or places.read_picture(path, most))
    pack(table, out, rows=4, resume=True)
    assert seen == [f"{row}.png" for row in range(4, NUM)]  # the first shard was whole
    assert {n: c for n, c in contents(out).items() if n != "table.parquet"} == {
        n: c for n, c in contents(tmp_path / "whole").items() if n != "table.parquet"
    }
    assert SampleTable.read(out).values("path").tolist() == SampleTable.read(tmp_path / "whole").values("path").tolist()


def test_a_picture_that_is_not_there_keeps_an_empty_place(
    tmp_path: Path, table: SampleTable, capsys: pytest.CaptureFixture
) -> None:
    (table.root / "3.png").unlink()
    (table.root / "5.png").write_bytes(b"no picture")  # bytes are bytes: what they are worth is seen when they are read
    table.write(tmp_path / "table.parquet")
    assert cli.main(["data", "pack", str(tmp_path / "table.parquet"), "--out", str(tmp_path / "packed")]) == 3
    shown = capsys.readouterr()
    assert "1 pictures could not be read and keep an empty place; the first, 3.png: No such file" in shown.err
    assert shown.out.endswith("packed: 12 faces, 11 pictures in 1 files\n")
    read = SampleTable.read(tmp_path / "packed")
    _, broken = load_images(read, channels=1, size=48)
    assert sorted(broken) == sorted((read.samples[4], read.samples[6]))
    assert "could not be read when it was packed" in broken[read.samples[4]]
    assert check(read)["images"]["broken"]["count"] == 2


def test_what_is_not_a_packed_folder_is_neither_read_nor_replaced(tmp_path: Path, table: SampleTable) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("mine")
    with pytest.raises(RunError, match=r"diary.txt was not made by mien data pack"):
        pack(table, tmp_path / "notes", overwrite=True)
    with pytest.raises(TableError, match="no such file"):
        SampleTable.read(tmp_path / "notes")
    pack(table, tmp_path / "packed", rows=4)
    (tmp_path / "packed" / "images-00001.parquet").unlink()
    with pytest.raises(TableError, match=r"images-00001.parquet is not there, packed were"):
        SampleTable.read(tmp_path / "packed")
    pack(table, tmp_path / "packed", rows=20, overwrite=True)
    assert len(list((tmp_path / "packed").glob("images-*"))) == 1
    (tmp_path / "packed" / "manifest.json").write_text('{"version": 1')
    with pytest.raises(TableError, match="is damaged"):
        SampleTable.read(tmp_path / "packed")
    with pytest.raises(TableError, match="no picture is there"):
        pack(SampleTable(table.columns, table.classes, table.vote_names, tmp_path / "moved"), tmp_path / "other")


def test_a_folder_that_commands_would_take_for_a_file_is_not_made(tmp_path: Path, table: SampleTable) -> None:
    with pytest.raises(RecipeError, match=r"packed\.parquet: the name of a file\. .* such as .*packed\.$"):
        pack(table, tmp_path / "packed.parquet")
    assert not (tmp_path / "packed.parquet").exists()


def test_a_folder_is_never_packed_onto_itself(tmp_path: Path, table: SampleTable) -> None:
    pack(table, tmp_path / "packed")
    before = {path.name: path.read_bytes() for path in (tmp_path / "packed").iterdir()}
    with pytest.raises(RunError, match="is what is read here, and would be lost"):
        pack(SampleTable.read(tmp_path / "packed"), tmp_path / "packed", overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "packed").iterdir()} == before


def test_a_packed_folder_is_a_table_for_commands_also_after_it_moved(
    tmp_path: Path, table: SampleTable, capsys: pytest.CaptureFixture
) -> None:
    pack(table.with_column("split", ["report"] * len(table)), tmp_path / "packed", rows=4)
    (tmp_path / "packed").rename(tmp_path / "moved")
    assert cli.main(["predict", str(tmp_path / "moved"), "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(table)
    assert cli.main(["align", str(tmp_path / "moved"), "--out", str(tmp_path / "cut"), "--size", "16"]) == 0
    assert len(SampleTable.read(tmp_path / "cut" / "faces.parquet")) == len(table)
    other = tmp_path / "root" / "other.png"
    Image.new("RGB", (9, 9), "red").save(other)
    merged = tmp_path / "merged.parquet"
    SampleTable.from_columns({"sample": ["x"], "path": ["other.png"]}, classes=table.classes, root=other.parent).write(
        tmp_path / "one.parquet"
    )
    assert cli.main(["data", "merge", str(tmp_path / "moved"), str(tmp_path / "one.parquet"), "--out", str(merged)]) == 0
    joined = SampleTable.read(merged)
    assert decode(joined.image_path(0), channels=1).shape == (1, 48, 48)
    assert decode(joined.image_path(len(joined) - 1), channels=1).shape == (1, 9, 9)
