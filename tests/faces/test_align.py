"""Photos to a folder of faces: by the command with the real detector, and in detail with one that is told what to find."""

import csv
import zlib
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from mien import cli
from mien.classes import FERPLUS
from mien.data.images import decode
from mien.data.readers import folder
from mien.data.table import SampleTable
from mien.errors import ImageError, RecipeError, RunError, TableError
from mien.faces.align import align
from mien.faces.crop import FER2013, Geometry, crop_face
from mien.faces.detect import MTCNN, Detections

PHOTO = Image.fromarray(skimage.data.astronaut())


class Told:
    """Finds as many faces as the picture's first pixel says, of 20, 19, 18 … pixels."""

    def detect(self, image):
        count = int(image[0, 0, 0])
        if count == 255:
            raise RuntimeError("the detector broke")
        boxes = np.array([(5, 5, 25 - i, 25 - i) for i in range(count)], np.float32).reshape(-1, 4)
        points = np.tile(np.array([(8, 8), (20, 8), (14, 14), (9, 20), (19, 20)], np.float32), (count, 1, 1))
        return Detections(boxes, np.linspace(1, 0.8, count, dtype=np.float32), points)

    def detect_batch(self, images):
        return [self.detect(image) for image in images]


def put(path: Path, num_faces: int) -> Path:
    """Writes a picture with as many faces as `Told` is to find."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(zlib.crc32(str(path).encode())).integers(0, 255, (40, 40, 3), np.uint8)
    pixels[0, 0] = num_faces
    Image.fromarray(pixels).save(path)
    return path


def align_told(inputs, out, **options):
    return align(inputs, out, detector=Told(), **{"size": 16, **options})


def everything(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def photos(tmp_path):
    for name, count in (("wink/a.png", 1), ("wink/b.png", 3), ("pain/a.png", 1), ("pain/none.png", 0), ("pain/deep/c.png", 2)):
        put(tmp_path / "photos" / name, count)
    return tmp_path / "photos"


# ---------------------------------------------------------------------- the command


def test_the_command_makes_faces_a_table_and_a_list_of_what_has_none(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("photos/wink/a.png", "photos/pain/b.png"):
        Path(name).parent.mkdir(parents=True)
        (PHOTO if "a" in Path(name).stem else PHOTO.rotate(20)).save(name)
    Image.new("RGB", (90, 90), "grey").save("photos/pain/none.jpg")
    Path("photos/pain/broken.jpg").write_text("no picture")
    tokens = ["align", "photos", "--out", "made/here", "--labels-from-folders", "--size", "64", "--margin", "1.5", "--upright"]
    assert cli.main(tokens) == 3  # one could not be read
    out, err = capsys.readouterr()
    assert out == f"wrote {Path('made/here/faces.parquet')}: 2 faces\n"
    assert "2 photos without a face, 1 of them not readable" in err
    files = {"faces/pain/b.png-1.png", "faces/wink/a.png-1.png", "faces.parquet", "without.csv"}
    assert everything(tmp_path / "made") == {f"here/{name}" for name in files}

    table = SampleTable.read("made/here/faces.parquet")
    assert (table.classes, table.samples) == (("pain", "wink"), ["pain/b.png-1", "wink/a.png-1"])
    assert table.values("label").tolist() == ["pain", "wink"]
    assert table.values("photo").tolist() == [str(Path("photos/pain/b.png")), str(Path("photos/wink/a.png"))]
    geometry = Geometry(**table.geometry)
    assert geometry == Geometry(margin=1.5, centre=FER2013.centre, upright=True)
    boxes, scores, points = MTCNN().detect(np.asarray(PHOTO))
    np.testing.assert_allclose(table.values("photo_box")[1], boxes[0])
    np.testing.assert_allclose(table.values("photo_points")[1], points[0].ravel())
    assert table.values("score")[1] == pytest.approx(scores[0])
    face = decode(table.image_path(1), channels=3)
    np.testing.assert_array_equal(face, crop_face(PHOTO, boxes[0], geometry, size=64, points=points[0]))
    turned = MTCNN(min_face=20).detect(decode(table.image_path(0), channels=3).transpose(1, 2, 0)).points[0]
    assert abs(turned[0, 1] - turned[1, 1]) < 2.5  # of 64 pixels: the eyes are level

    rows = list(csv.reader(Path("made/here/without.csv").read_text(encoding="utf-8").splitlines()))
    assert rows[0] == ["photo", "why"] and rows[2] == [str(Path("photos/pain/none.jpg")), "no face was found"]
    assert rows[1][0] == str(Path("photos/pain/broken.jpg")) and "not a picture" in rows[1][1]


def test_a_photo_without_a_face_is_no_failure_and_other_faces_of_a_photo_are_told(tmp_path, monkeypatch, capsys, photos):
    monkeypatch.setattr("mien.faces.detect.MTCNN", lambda **options: Told())
    out = tmp_path / "out"
    assert cli.main(["align", str(photos), "--out", str(out), "--labels-from-folders"]) == 0
    assert "3 faces are not the largest of their photo but have its label" in capsys.readouterr().err
    assert cli.main(["align", str(photos), "--out", str(out)]) == 2
    assert "exists. Choose another name or pass --overwrite" in capsys.readouterr().err
    assert cli.main(["align", str(photos), "--out", str(out), "--labels-from-folders", "--largest", "--overwrite"]) == 0
    assert "not the largest" not in capsys.readouterr().err
    assert len(SampleTable.read(out / "faces.parquet")) == 4


# ---------------------------------------------------------------------- what is in the table


def test_every_face_has_a_row_and_the_faces_of_a_photo_a_group(tmp_path, photos):
    found = align_told([photos], tmp_path / "out")
    assert found.table.samples == [
        *("pain/a.png-1", "pain/deep/c.png-1", "pain/deep/c.png-2"),
        *("wink/a.png-1", "wink/b.png-1", "wink/b.png-2", "wink/b.png-3"),
    ]
    assert found.table.columns.equals(SampleTable.read(tmp_path / "out" / "faces.parquet").columns)
    assert (found.without, found.num_broken) == ([(str(photos / "pain" / "none.png"), "no face was found")], 0)
    groups = found.table.values("group").tolist()
    assert groups[1] == groups[2] and groups[4] == groups[5] == groups[6] and len(set(groups)) == 4
    assert found.table.values("photo_box")[5] == [5, 5, 24, 24] and len(found.table.values("photo_points")[5]) == 10
    for row in range(len(found.table)):
        assert decode(found.table.image_path(row), channels=3).shape == (3, 16, 16)


def test_without_labels_the_classes_are_the_usual_ones_and_all_faces_can_be_learned_from(tmp_path, photos):
    table = align_told([photos], tmp_path / "out").table
    assert table.classes == FERPLUS and (table.labels() == -1).all()
    assert set(table.splits) <= {"train", "select", "calibrate"} and "owner_split" not in table


def test_the_label_is_the_folder_that_a_photo_lies_in(tmp_path, photos):
    table = align_told([photos], tmp_path / "out", labels_from_folders=True).table
    assert table.classes == ("deep", "pain", "wink")
    assert table.values("label").tolist() == ["pain", "deep", "deep", "wink", "wink", "wink", "wink"]


def test_globs_and_files_have_the_labels_of_their_folders_too(tmp_path, photos, monkeypatch):
    monkeypatch.chdir(photos / "wink")
    table = align_told(["a.png", "../pain/*.png", photos / "wink" / "a.png"], tmp_path / "out", labels_from_folders=True).table
    assert table.values("label").tolist() == ["wink", "pain"]  # a photo that is named twice counts once
    assert table.samples == ["wink/a.png-1", "pain/a.png-1"]


def test_folders_called_as_splits_are_splits(tmp_path):
    for split in ("Train", "val", "test"):
        for label in ("wink", "pain"):
            put(tmp_path / "photos" / split / label / "a.png", 1)
    table = align_told([tmp_path / "photos"], tmp_path / "out", labels_from_folders=True).table
    assert table.classes == ("pain", "wink")
    assert set(zip(table.values("owner_split"), table.splits, strict=True)) == {
        ("Train", "train"),
        ("val", "report"),
        ("test", "test"),
    }


def test_the_folder_of_faces_reads_as_a_folder_of_classes(tmp_path, photos):
    align_told([photos / "wink", photos / "pain"], tmp_path / "out", largest=True)
    table = folder.read(tmp_path / "out" / "faces")
    assert table.classes == ("pain", "wink")
    assert table.samples == ["pain/a.png-1", "pain/deep/c.png-1", "wink/a.png-1", "wink/b.png-1"]


def test_a_photo_is_turned_as_its_exif_orientation_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :30] = 200
    pixels[-1, 0] = 1  # the first pixel once it is upright
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    table = align_told([tmp_path / "a.png"], tmp_path / "out", geometry=Geometry(margin=2.5)).table
    face = decode(table.image_path(0), channels=1)[0]
    assert face[1].mean() > 150 > 50 > face[-1].mean()  # bright above, dark below


# ---------------------------------------------------------------------- refusals


def test_one_folder_is_no_choice_of_classes(tmp_path, photos):
    with pytest.raises(TableError, match="all photos lie in the folder wink"):
        align_told([photos / "wink"], tmp_path / "out", labels_from_folders=True)
    assert not (tmp_path / "out").exists()


def test_photos_without_any_face_leave_nothing(tmp_path, photos):
    with pytest.raises(ImageError, match=r"1 photos, no face; the first, .*none\.png: no face was found\. Try a smaller"):
        align_told([photos / "pain" / "none.png"], tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_failure_in_the_middle_leaves_what_was_there_before(tmp_path, photos):
    align_told([photos], tmp_path / "out", largest=True)
    before = everything(tmp_path)
    put(photos / "wink" / "z.png", 255)
    with pytest.raises(RuntimeError, match="the detector broke"):
        align_told([photos], tmp_path / "out", overwrite=True)
    assert everything(tmp_path) == before | {"photos/wink/z.png"}
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "out"}


def test_a_folder_of_other_things_is_never_replaced(tmp_path, photos):
    with pytest.raises(RunError, match="pain was not made by mien align"):
        align_told([photos], photos, overwrite=True)
    with pytest.raises(RunError, match=r"a\.png was not made by mien align"):
        align_told([photos], photos / "wink" / "a.png", overwrite=True)
    with pytest.raises(RunError, match="exists"):
        align_told([photos], tmp_path)
    assert len(everything(photos)) == 5


def test_faces_that_were_made_before_are_no_photos(tmp_path, photos):
    first = align_told([photos], photos / "aligned").table.samples
    assert align_told([photos], photos / "aligned", overwrite=True).table.samples == first
    with pytest.raises(ImageError, match="no photos but those in"):
        align_told([photos / "aligned"], photos / "aligned", overwrite=True)
    assert (photos / "aligned" / "faces.parquet").is_file()


def test_a_face_of_no_pixels_is_refused(tmp_path, photos):
    with pytest.raises(RecipeError, match="size is 0"):
        align_told([photos], tmp_path / "out", size=0)
