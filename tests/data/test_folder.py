import unicodedata

import numpy as np
import pytest
from PIL import Image

from mien.classes import AFFECTNET, FERPLUS
from mien.data.readers import folder
from mien.errors import TableError


def write_pictures(root, *names):
    noise = np.random.default_rng(len(names))
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (6, 6), np.uint8)).convert("RGB").save(path)


def rows_of(table, *columns):
    return dict(zip(table.samples, zip(*(table.values(column) for column in columns), strict=True), strict=True))


def refusal(root, **options):
    with pytest.raises(TableError) as error:
        folder.read(root, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_sub_folders_are_the_classes_in_sorted_order(tmp_path):
    write_pictures(tmp_path / "faces", "sad/1.png", "happy/1.PNG", "happy/more/2.jpg", "angry/a.webp")
    table = folder.read(tmp_path / "faces")
    assert table.classes == ("angry", "happy", "sad")
    assert rows_of(table, "label", "path") == {
        "angry/a": ("angry", "angry/a.webp"),
        "happy/1": ("happy", "happy/1.PNG"),
        "happy/more/2": ("happy", "happy/more/2.jpg"),
        "sad/1": ("sad", "sad/1.png"),
    }
    assert all(table.image_path(row).is_file() for row in range(4))
    assert (table.source, table.licence, table.votes) == ("faces", None, None)
    assert [step["step"] for step in table.how] == ["import", "split"]


def test_given_classes_keep_their_order_and_may_have_no_faces(tmp_path):
    write_pictures(tmp_path, "sad/1.png", "happy/1.png")
    table = folder.read(tmp_path, classes=("sad", "happy", "fear"), source="mine", licence="mine alone")
    assert table.classes == ("sad", "happy", "fear")
    assert (table.source, table.licence) == ("mine", "mine alone")


def test_a_folder_that_is_no_given_class_is_refused_with_the_one_meant(tmp_path):
    write_pictures(tmp_path, "hapy/1.png", "sad/1.png")
    assert "folder hapy is none" in (message := refusal(tmp_path, classes=("happy", "sad")))
    assert "Did you mean happy?" in message


@pytest.mark.parametrize("given", ["NFC", "NFD", None])
def test_an_umlaut_is_the_same_letter_as_one_sign_and_as_two(tmp_path, given):
    write_pictures(tmp_path, unicodedata.normalize("NFD", "Überrascht/1.png"), "Überrascht/2.png", "sad/1.png")
    classes = (unicodedata.normalize(given, "Überrascht"), "sad") if given else None
    table = folder.read(tmp_path, classes=classes)
    assert table.classes == (classes or ("sad", "Überrascht"))
    assert [label == "sad" for label in table.values("label")] == [False, True, False]
    assert all(table.image_path(row).is_file() for row in range(3))


def test_a_flat_folder_has_no_labels_and_the_usual_classes(tmp_path):
    write_pictures(tmp_path, *(f"{name}.png" for name in "abcde"))
    table = folder.read(tmp_path)
    assert table.classes == FERPLUS
    assert (table.labels() == -1).all()
    assert set(table.splits) <= {"train", "select", "calibrate"}
    assert folder.read(tmp_path, classes=("x", "z")).classes == ("x", "z")


@pytest.mark.parametrize("valid", ["val", "valid", "Validation"])
def test_a_first_level_of_splits_is_one_and_no_class(tmp_path, valid):
    train = [f"Train/{label}/{number}.png" for label in ("happy", "sad") for number in range(25)]
    write_pictures(tmp_path, *train, f"{valid}/sad/1.png", "test/loose.png")
    table = folder.read(tmp_path, seed=3)
    assert table.classes == ("happy", "sad")
    assert rows_of(table, "owner_split", "split", "label")[f"{valid}/sad/1"] == (valid, "report", "sad")
    assert rows_of(table, "owner_split", "split", "label")["test/loose"] == ("test", "test", None)
    cut = table.take(table.values("owner_split") == "Train").splits
    assert [(cut == name).sum() for name in ("train", "select", "calibrate")] == [42, 4, 4]


def test_equal_files_stay_on_one_side_of_the_cut(tmp_path):
    write_pictures(tmp_path, *(f"{label}/{number}.png" for label in "ab" for number in range(30)))
    for number in range(30):
        (tmp_path / "b" / f"{number}.png").write_bytes((tmp_path / "a" / f"{number}.png").read_bytes())
    table = folder.read(tmp_path)
    splits = rows_of(table, "split")
    assert {"select", "calibrate"} <= set(table.splits)
    assert all(splits[f"a/{number}"] == splits[f"b/{number}"] for number in range(30))


def test_hidden_and_other_files_are_left_out(tmp_path):
    write_pictures(tmp_path, "a/1.png", "b/1.png", ".cache/1.png", "a/.hidden.png")
    (tmp_path / "list.csv").write_text("")
    (tmp_path / "a" / "Thumbs.db").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    table = folder.read(tmp_path)
    assert (table.samples, table.classes) == (["a/1", "b/1"], ("a", "b"))


def test_ids_that_differ_in_the_suffix_alone_are_refused(tmp_path):
    write_pictures(tmp_path, "a/1.png", "a/1.jpg", "b/1.png")
    assert "a/1.jpg and a/1.png differ in their suffix alone" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["a/1.png", "b/1.png", "loose.png"], ["loose.png has no class folder", "a/1.png has one"]),
        (["1.png", "a/1.png", "b/1.png"], ["a/1.png has a class folder", "1.png has none"]),
        (["train/a/1.png", "train/1.png"], ["train/a/1.png", "train/1.png"]),
        (["train/a/1.png", "extra/a/1.png"], ["extra/a/1.png lies beside the split folder train"]),
        (["only/1.png"], ["the only class is only", "pass only"]),
        ([], ["no pictures", ".webp"]),
    ],
)
def test_mixed_layouts_are_refused(tmp_path, names, says):
    write_pictures(tmp_path, *names)
    message = refusal(tmp_path)
    assert all(part in message for part in [*says, "Expected one folder per class"]), message


def test_a_root_that_is_no_folder_is_refused(tmp_path):
    assert "nowhere does not exist" in refusal(tmp_path / "nowhere")
    write_pictures(tmp_path, "1.png")
    assert "1.png is a file" in refusal(tmp_path / "1.png")


def test_a_link_without_its_file_is_named(tmp_path):
    write_pictures(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a" / "2.png").symlink_to(tmp_path / "gone.png")
    assert "a/2.png cannot be read" in refusal(tmp_path)


def test_files_that_are_no_pictures_by_their_names_are_counted(tmp_path):
    for name in ("a.jfif", "b.JP2", "notes.txt", ".hidden", "Thumbs.db"):
        (tmp_path / name).write_bytes(name.encode())
    table = folder.read(tmp_path)
    assert table.samples == ["a", "b"]
    assert table.how[0]["files_skipped"] == 2


def test_a_preset_stands_for_its_classes(tmp_path):
    write_pictures(tmp_path, "anger/1.png", "fear/1.png")
    assert folder.read(tmp_path, classes=["affectnet7"]).classes == AFFECTNET[:7]
