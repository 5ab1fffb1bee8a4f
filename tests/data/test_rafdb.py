import numpy as np
import pytest
from PIL import Image

from mien import cli
from mien.classes import RAFDB
from mien.data.readers import rafdb
from mien.data.table import SampleTable
from mien.errors import TableError

ROWS = {"train_00001": 5, "train_00002": 4, "train_00003": 7, "test_0001": 1}
POINTS = [(10.5, 12), (30, 11.25), (20, 21), (12, 30), (29, 31)]
# Faces of each class in the owner's lists, in the order of RAFDB.
COUNTS = {"train": (1290, 281, 717, 4772, 1982, 705, 2524), "test": (329, 74, 160, 1185, 478, 162, 680)}


def write_release(root, rows, *, list_name="list_patition_label.txt"):
    """As the owner's archives lie once they are extracted: the list without a line end at its end."""
    for name in ("EmoLabel", "Image/aligned", "Image/original", "Annotation/manual"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "EmoLabel" / list_name).write_text("\n".join(f"{sample}.jpg {label}" for sample, label in rows.items()))
    noise = np.random.default_rng(0)
    for sample in rows:
        for path, size in ((f"aligned/{sample}_aligned.jpg", 10), (f"original/{sample}.jpg", 40)):
            Image.fromarray(noise.integers(0, 256, (size, size, 3), np.uint8)).save(root / "Image" / path)
        lines = [f"{right}\t{down}" for right, down in POINTS] + ["1", "0", "2"]
        (root / "Annotation" / "manual" / f"{sample}_manu_attri.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def root(tmp_path):
    write_release(tmp_path / "basic", ROWS)
    return tmp_path / "basic"


def refusal(root, **options):
    with pytest.raises(TableError) as error:
        rafdb.read(root, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_rows_carry_labels_aligned_faces_and_both_splits(root):
    table = rafdb.read(root)
    assert table.samples == list(ROWS)
    assert table.classes == RAFDB == ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
    assert table.values("label").tolist() == ["sadness", "happiness", "neutral", "surprise"]
    assert table.values("path")[0] == "Image/aligned/train_00001_aligned.jpg"
    assert all(table.image_path(row).is_file() for row in range(4))
    assert table.values("owner_split").tolist() == ["train"] * 3 + ["test"]
    assert table.splits[3] == "test" and "test" not in table.splits[:3]
    assert (table.votes, "points" in table, "box" in table) == (None, False, False)
    assert table.source == "RAF-DB" and "non-commercial" in table.licence


def test_original_pictures_come_with_five_points_where_there_are_some(root):
    (root / "Annotation" / "manual" / "train_00002_manu_attri.txt").unlink()
    (root / "Annotation" / "manual" / "train_00003_manu_attri.txt").write_text("\n".join(f"{x} {y}" for x, y in POINTS))
    table = rafdb.read(root, aligned=False)
    assert table.values("path")[0] == "Image/original/train_00001.jpg"
    flat = [number for point in POINTS for number in point]
    assert table.values("points").tolist() == [flat, None, flat, flat]
    assert table.how[0] == {"step": "import", "reader": "rafdb", "aligned": False, "faces": 4, "with_points": 3}


def test_a_line_end_at_the_end_and_the_other_spelling_of_the_list_change_nothing(root):
    before = rafdb.read(root)
    path = root / "EmoLabel" / "list_patition_label.txt"
    (root / "EmoLabel" / "list_partition_label.txt").write_text(path.read_text() + "\n")
    path.unlink()
    assert rafdb.read(root).columns.equals(before.columns)


def test_the_command_prints_the_counts_of_the_owner_s_lists(tmp_path, capsys):
    root = tmp_path / "basic"
    (root / "EmoLabel").mkdir(parents=True)
    (root / "Image" / "aligned").mkdir(parents=True)
    rows = []
    for split, digits in (("train", 5), ("test", 4)):
        labels = np.random.default_rng(0).permutation(np.repeat(np.arange(1, 8), COUNTS[split]))
        rows += [(f"{split}_{number:0{digits}}", label) for number, label in enumerate(labels, 1)]
    (root / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(f"{name}.jpg {label}" for name, label in rows))
    for name, _ in rows:
        (root / "Image" / "aligned" / f"{name}_aligned.jpg").write_bytes(name.encode())  # each another digest
    assert cli.main(["data", "import", "rafdb", str(root), "--out", str(tmp_path / "raf.parquet"), "--select", "0.1"]) == 0
    out, err = capsys.readouterr()
    assert "15,339 faces" in out
    assert (
        "train, 12,271 faces: surprise 1,290, fear 281, disgust 717, happiness 4,772, sadness 1,982, anger 705, neutral 2,524\n"
        "test, 3,068 faces: surprise 329, fear 74, disgust 160, happiness 1,185, sadness 478, anger 162, neutral 680\n"
    ) in err
    table = SampleTable.read(tmp_path / "raf.parquet")
    counts = {name: int((table.splits == name).sum()) for name in ("train", "select", "calibrate", "report", "test")}
    assert counts["test"] == 3068 and sum(counts.values()) == 15_339
    for name, share in (("select", 0.1), ("calibrate", 0.08), ("report", 0.15)):
        assert abs(counts[name] - share * 12_271) < 5, name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train_00001.jpg 5\ntrain_00002.jpg 0\n", ["line 2", "label '0'", "1 surprise, 2 fear", "7 neutral"]),
        ("train_00001.jpg 8\n", ["line 1", "label '8'"]),
        ("train_00001.jpg 5\n\n", ["line 2", "Expected rows such as train_00001.jpg 5"]),
        ("train_00001.jpg\n", ["line 1", "Expected rows such as"]),
        ("train_00001.png 5\n", ["line 1", "Expected rows such as"]),
        ("valid_00001.jpg 5\n", ["line 1", "Expected rows such as"]),
        ("train_00001.jpg 5\ntrain_00001.jpg 5\n", ["line 2", "twice", "keep one"]),
        ("", ["no rows"]),
        (b"\x89PNG\xff", ["not a text file"]),
    ],
)
def test_a_list_of_another_kind_is_refused_by_line(root, text, says):
    path = root / "EmoLabel" / "list_patition_label.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    message = refusal(root)
    assert "list_patition_label.txt" in message and all(part in message for part in says), message


def test_a_half_complete_folder_is_refused_with_what_was_looked_for_and_what_is_there(root):
    message = refusal(root.parent)
    assert "basic" in message and "EmoLabel/list_patition_label.txt: no such file" in message and "holds basic." in message
    (root / "Image" / "aligned" / "train_00002_aligned.jpg").unlink()
    message = refusal(root)
    assert "lists 4 files, but 1 of them are not there" in message
    assert "train_00002_aligned.jpg" in message and "aligned holds test_0001_aligned.jpg, train_00001_aligned.jpg" in message
    for path in (root / "Image" / "aligned").iterdir():
        path.rename(root / path.name)
    (root / "Image" / "aligned").rmdir()
    (root / "Image" / "aligned.zip").write_bytes(b"")
    assert "4 of them are not there" in (message := refusal(root)) and "Image holds aligned.zip, original." in message
    assert "nowhere does not exist" in refusal(root / "nowhere")
    assert "aligned.zip is a file" in refusal(root / "Image" / "aligned.zip")


def test_an_annotation_that_holds_no_points_is_named(root):
    for text in ("10 12\n30 11\n", "a\tb\n" * 5, "1\n0\n2\n"):
        (root / "Annotation" / "manual" / "train_00001_manu_attri.txt").write_text(text)
        message = refusal(root, aligned=False)
        assert "train_00001_manu_attri.txt: the first five lines are no points" in message
