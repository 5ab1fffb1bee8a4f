"""Tables and pictures behind URLs, by fsspec; plain paths need none of it."""

import sys
from pathlib import Path

import numpy as np
import pytest

from mien import cli
from mien.data.check import check
from mien.data.images import decode, load_images
from mien.data.merge import merge
from mien.data.pack import pack
from mien.data.places import absolute, beneath, url_of
from mien.data.readers import drawn
from mien.data.table import SampleTable
from mien.errors import ImageError, MienError


@pytest.fixture
def memory():
    """An object store that lives as long as the test."""
    store = pytest.importorskip("fsspec").filesystem("memory")
    yield store
    store.rm("/", recursive=True)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("s3://bucket/a b/faces.parquet", "s3://bucket/a b/faces.parquet"),
        (Path("memory://faces"), "memory://faces"),
        ("file:///data/faces", "file:///data/faces"),
        (Path("file:///data/faces"), "file:///data/faces"),
        ("C:/data/faces", None),
        ("https://host/faces.parquet", None),  # a table from somebody else must not make this machine call any host
        ("/data/s3:/faces", None),
        ("faces.parquet", None),
    ],
)
def test_a_url_is_told_from_a_path_also_once_it_is_a_path(given: Path | str, url: str | None) -> None:
    assert url_of(given) == url


def test_pictures_of_a_table_may_lie_in_a_store(tmp_path: Path, memory) -> None:
    made = drawn.read(faces=4, seed=3)
    for row, content in enumerate(made.values("image")):
        memory.pipe_file(f"/photos/{row}.png", content)
    columns = {"sample": made.samples, "path": [f"{row}.png" for row in range(4)]}
    SampleTable.from_columns(columns, classes=made.classes, root="memory://photos").write(tmp_path / "table.parquet")
    memory.put_file(str(tmp_path / "table.parquet"), "/tables/one.parquet")
    read = SampleTable.read("memory://tables/one.parquet")
    assert url_of(read.root) == "memory://photos" == url_of(absolute(read.root))
    np.testing.assert_array_equal(load_images(read, channels=1, size=48)[0], load_images(made, channels=1, size=48)[0])
    assert check(read)["ok"]
    memory.rm("/photos/2.png")
    assert check(read)["images"]["missing"]["count"] == 1
    with pytest.raises(ImageError, match=r"2\.png: no such file"):
        decode(read.image_path(2), channels=1)


def test_a_row_may_name_a_url_beside_others_that_name_files(tmp_path: Path, memory) -> None:
    made = drawn.read(faces=2, seed=3)
    memory.pipe_file("/a.png", made.values("image")[0])
    (tmp_path / "b.png").write_bytes(made.values("image")[1])
    one = SampleTable.from_columns({"sample": ["b"], "path": ["b.png"]}, classes=made.classes, root=tmp_path)
    two = SampleTable.from_columns({"sample": ["a"], "path": ["memory://a.png"]}, classes=made.classes, root=tmp_path)
    joined = merge([two, one], ["two", "one"])
    np.testing.assert_array_equal(load_images(joined, channels=1, size=48)[0], load_images(made, channels=1, size=48)[0])


def test_a_packed_folder_is_read_from_a_store_by_rows(tmp_path: Path, memory) -> None:
    made = drawn.read(faces=5, seed=3)
    pack(made, tmp_path / "packed", rows=2)
    memory.put(str(tmp_path / "packed") + "/", "/faces", recursive=True)
    read = SampleTable.read("memory://faces")
    np.testing.assert_array_equal(load_images(read, channels=1, size=48)[0], load_images(made, channels=1, size=48)[0])
    pack(read, tmp_path / "back")
    back = SampleTable.read(tmp_path / "back")
    np.testing.assert_array_equal(load_images(back, channels=1, size=48)[0], load_images(made, channels=1, size=48)[0])


def test_a_store_whose_package_is_missing_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(MienError, match=r"s3://bucket/a\.parquet: .*Install what fsspec needs"):
        SampleTable.read("s3://bucket/a.parquet")


def test_without_fsspec_plain_paths_work_and_a_url_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    drawn.read(faces=3, seed=3).write(tmp_path / "table.parquet")
    assert len(SampleTable.read(tmp_path / "table.parquet")) == 3
    assert beneath(tmp_path, "a.png") == tmp_path / "a.png"
    assert cli.main(["data", "check", "s3://bucket/table.parquet"]) == 1
    assert 'pip install "mien[scale]"' in capsys.readouterr().err
