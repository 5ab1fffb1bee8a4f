import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from PIL import Image

from mien import cli
from mien.classes import AFFECTNET
from mien.data.readers import affectnet, affectnet_csv
from mien.data.table import SampleTable
from mien.errors import TableError

HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
MARKS = np.round(np.random.default_rng(0).uniform(0, 40, 136), 2)
TEXT = ";".join(map(str, MARKS))
TRAINING = [
    f"1/aa.jpg,3,4,20,21,{TEXT},1,0.7,-0.1",
    f"1/bb.JPG,0,0,30,31,{TEXT},6,-0.5,0.25",
    f"2/cc.png,1,1,10,10,{TEXT},7,-0.1,0.1",
    f"2/dd.jpg,1,1,10,10,{TEXT},9,-2,-2",
    "2/ee.jpg,-1,-1,-1,-1,,10,-2,-2",
    "2/ff.jpg,-1,-1,-1,-1,,3,0,0",  # a face of which no box is known
]
VALIDATION = [f"3/gg.jpg,2,2,30,31,{TEXT},2,-0.5,-0.5", f"3/hh.jpg,2,2,30,31,{TEXT},8,0,0"]
# Rows of training.csv by number: the eight expressions, none, uncertain, not-a-face; 500 of each in validation.csv.
COUNTS = (74_874, 134_415, 25_459, 14_090, 6_378, 3_803, 24_882, 3_750, 33_088, 11_645, 82_415)


def write_picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 40)).save(path)


def write_lists(root, training=(HEADER, *TRAINING), validation=(HEADER, *VALIDATION)):
    lists = root / "Manually_Annotated_file_lists"
    lists.mkdir(parents=True, exist_ok=True)
    (lists / "training.csv").write_text("\n".join(training) + "\n")
    (lists / "validation.csv").write_text("\n".join(validation) + "\n")


@pytest.fixture
def manual(tmp_path):
    write_lists(tmp_path / "affectnet")
    for row in (*TRAINING, *VALIDATION):
        write_picture(tmp_path / "affectnet" / "Manually_Annotated_Images" / row.split(",")[0])
    return tmp_path / "affectnet"


def write_face(folder, name, label, *, points=MARKS, valence="0.5", arousal=-0.25):
    write_picture(folder / "images" / f"{name}.jpg")
    (folder / "annotations").mkdir(exist_ok=True)
    for kind, value in (("exp", label), ("lnd", points), ("val", valence), ("aro", arousal)):
        if value is not None:
            np.save(folder / "annotations" / f"{name}_{kind}.npy", np.array(value))


@pytest.fixture
def sets(tmp_path):
    root = tmp_path / "sets"
    for name, label in (("0", "1"), ("10", 6), ("2", "7")):  # text in some copies, numbers in others
        write_face(root / "train_set", name, label)
    write_face(root / "val_set", "0", "3", points=MARKS.reshape(68, 2), valence=None)
    return root


def refusal(root, **options):
    with pytest.raises(TableError) as error:
        affectnet.read(root, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---------------------------------------------------------------------- the two lists


def test_lists_give_boxes_points_labels_and_both_splits(manual):
    table = affectnet.read(manual)
    assert table.classes == AFFECTNET
    assert table.samples == ["1/aa", "1/bb", "2/cc", "3/gg"]
    assert table.values("label").tolist() == ["happiness", "anger", "contempt", "sadness"]
    assert table.values("owner_split").tolist() == ["training"] * 3 + ["validation"]
    assert table.splits[3] == "test" and "test" not in table.splits[:3]
    assert table.values("box")[:2].tolist() == [[3, 4, 23, 25], [0, 0, 30, 31]]
    np.testing.assert_allclose(table.values("points")[0], MARKS, rtol=1e-6)
    assert table.values("valence").tolist() == [0.7, -0.5, -0.1, -0.5] and table.values("arousal")[0] == -0.1
    assert all(table.image_path(row).is_file() for row in range(4))
    left_out = {"none": 1, "uncertain": 1, "not-a-face": 1, "without_box": 1, "without_picture": 0}
    assert table.how[0] == {"step": "import", "reader": "affectnet", "faces": 4, "left_out": left_out}
    table.write(manual / "out.parquet")
    assert SampleTable.read(manual / "out.parquet").columns.equals(table.columns.combine_chunks())


def test_seven_classes_leave_out_contempt(manual, sets):
    for root in (manual, sets):
        table = affectnet.read(root, num_classes=7)
        assert table.classes == AFFECTNET[:7] and len(table) == 3
        assert table.how[0]["left_out"]["contempt"] == 1


def test_a_list_without_a_header_loses_no_row(manual):
    before = affectnet.read(manual)
    write_lists(manual, TRAINING, VALIDATION)
    assert affectnet.read(manual).columns.equals(before.columns)


@pytest.mark.parametrize("name", affectnet_csv.IMAGE_FOLDERS[1:])
def test_pictures_are_found_where_people_extract_them(manual, name):
    (manual / name).parent.mkdir(exist_ok=True)
    (manual / "Manually_Annotated_Images").rename(manual / name)
    table = affectnet.read(manual)
    assert table.values("path")[0] == f"{name}/1/aa.jpg" and table.image_path(0).is_file()


def test_landmarks_may_be_missing(manual):
    write_lists(manual, [HEADER, TRAINING[0].replace(TEXT, ""), TRAINING[1]])
    points = affectnet.read(manual).values("points")
    assert points[0] is None and len(points[1]) == 136


def test_the_full_lists_give_the_known_counts(tmp_path):
    def write(name, counts):
        labels = np.repeat(np.arange(11), counts)
        rows = np.arange(len(labels))
        columns = {column: np.full(len(labels), 9) for column in HEADER.split(",")}
        columns["subDirectory_filePath"] = pa.array([f"{row % 1000}/{row}.jpg" for row in rows])
        columns["facial_landmarks"] = pa.array([TEXT if row % 1000 == 0 else "" for row in rows])
        columns["expression"] = labels
        columns["face_width"] = np.where(labels == 10, -1, 9)
        pacsv.write_csv(pa.table(columns), tmp_path / name, pacsv.WriteOptions(quoting_style="none"))

    write("training.csv", COUNTS)
    write("validation.csv", [500] * 11)
    faces, left_out = affectnet_csv.read_list(tmp_path / "training.csv", 8)
    assert len(faces) == 287_651
    assert left_out == {"none": 33_088, "uncertain": 11_645, "not-a-face": 82_415, "without_box": 0}
    labels = faces["label"].value_counts().to_pylist()
    assert {row["values"]: row["counts"] for row in labels} == dict(zip(AFFECTNET, COUNTS, strict=False))
    assert len(affectnet_csv.read_list(tmp_path / "training.csv", 7)[0]) == 283_901
    assert [len(affectnet_csv.read_list(tmp_path / "validation.csv", num)[0]) for num in (7, 8)] == [3_500, 4_000]


def test_the_command_prints_what_was_left_out_and_the_counts_by_class(manual, capsys):
    assert cli.main(["data", "import", "affectnet", str(manual), "--out", str(manual / "a.parquet"), "--num-classes", "7"]) == 0
    err = capsys.readouterr().err
    assert "faces 3, left_out contempt 1, none 1, uncertain 1, not-a-face 1, without_box 1, without_picture 0" in err
    assert "training, 2 faces: happiness 1, anger 1\nvalidation, 1 faces: sadness 1\n" in err


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("1/aa.jpg,3,4,20,21", "Expected 9 columns, got 5"),
        (f"1/aa.jpg,three,4,20,21,{TEXT},1,0,0", "invalid value 'three'"),
        (f"1/aa.jpg,3,4,20,21,{TEXT},11,0,0", "expression of 1/aa.jpg is 11.0. Expected a number from 0 to 10"),
        (f"1/aa.jpg,3,4,20,21,{TEXT},,0,0", "expression of 1/aa.jpg is None"),
        ("1/aa.jpg,3,4,20,21,1;2;3,1,0,0", "facial_landmarks of 1/aa.jpg are 3 numbers. Expected 136"),
        (f"1/aa.jpg,3,4,20,21,{TEXT.replace('.', 'x', 1)},1,0,0", "facial_landmarks hold Failed to parse"),
    ],
)
def test_a_bad_row_is_refused_with_its_list(manual, row, says):
    write_lists(manual, [HEADER, row])
    assert says in (message := refusal(manual)), message
    assert "Manually_Annotated_file_lists" in message and "training.csv" in message and "copy the file again" in message


def test_a_header_of_another_table_is_refused(manual):
    write_lists(manual, [HEADER.replace("arousal", "excitement"), TRAINING[0]])
    assert "'arousal'" in (message := refusal(manual)) and "Expected the columns subDirectory_filePath" in message


def test_a_half_complete_folder_of_the_lists_is_refused(manual):
    (manual / "Manually_Annotated_Images" / "1" / "aa.jpg").unlink()
    message = refusal(manual)
    assert "lists 4 pictures, but 1 of them are not there" in message and "aa.jpg" in message and "1 holds bb.JPG." in message
    (manual / "Manually_Annotated_Images").rename(manual / "Images")
    message = refusal(manual)
    assert "Manually_Annotated_Images: no such folder" in message and "holds Images, Manually_Annotated_file_lists." in message
    (manual / "Images").rename(manual / "Manually_Annotated_Images")
    (manual / "Manually_Annotated_file_lists" / "validation.csv").rename(manual / "validation.csv")
    assert "validation.csv: no such file" in (message := refusal(manual)) and "file_lists holds training.csv." in message


def test_a_few_missing_pictures_are_left_out_and_counted(manual):
    rows = [TRAINING[0].replace("1/aa", f"1/{number}") for number in range(200)]
    write_lists(manual, [HEADER, *rows])
    for number in range(199):
        write_picture(manual / "Manually_Annotated_Images" / "1" / f"{number}.jpg")
    table = affectnet.read(manual)
    assert len(table) == 200 and table.how[0]["left_out"]["without_picture"] == 1


# ---------------------------------------------------------------------- a file for each number


def test_files_for_each_number_give_points_labels_and_both_splits(sets):
    table = affectnet.read(sets)
    assert table.samples == ["train_set/0", "train_set/10", "train_set/2", "val_set/0"]
    assert table.values("label").tolist() == ["happiness", "anger", "contempt", "surprise"]
    assert table.values("owner_split").tolist() == ["train"] * 3 + ["val"]
    assert table.splits[3] == "test" and "test" not in table.splits[:3]
    np.testing.assert_allclose(np.stack(table.values("points")), np.tile(MARKS, (4, 1)), rtol=1e-6)
    assert table.values("valence").tolist() == [0.5, 0.5, 0.5, None] and table.values("arousal")[0] == -0.25
    assert "box" not in table and all(table.image_path(row).is_file() for row in range(4))


def test_a_pickled_array_is_refused_unread(sets, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    np.save(sets / "train_set" / "annotations" / "10_exp.npy", np.array(Bomb(), object))
    message = refusal(sets)
    assert "10_exp.npy: not an array of numbers" in message and "pickled objects are never read" in message
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("10_exp", "happy", "could not convert string to float"),
        ("10_exp", 11, "10_exp.npy: label [11.0]. Expected a number from 0 to 10"),
        ("10_exp", 2.5, "label [2.5]"),
        ("10_exp", [1, 2], "2 numbers. Expected 1"),
        ("10_lnd", MARKS[:10], "10_lnd.npy: 10 numbers. Expected 136"),
    ],
)
def test_a_file_with_other_values_is_named(sets, name, value, says):
    np.save(sets / "train_set" / "annotations" / f"{name}.npy", np.array(value))
    assert says in refusal(sets)


def test_a_file_cut_short_is_named(sets):
    path = sets / "val_set" / "annotations" / "0_aro.npy"
    for text in (b"", path.read_bytes()[:70]):
        path.write_bytes(text)
        assert "val_set/annotations/0_aro.npy: not an array of numbers" in refusal(sets)


def test_a_half_complete_folder_of_the_sets_is_refused(sets):
    (sets / "train_set" / "annotations" / "10_exp.npy").unlink()
    message = refusal(sets)
    assert "train_set/annotations/10_exp.npy: no such file" in message and "1 in all" in message
    write_face(sets / "train_set", "10", 6)
    (sets / "train_set" / "images" / "10.jpg").unlink()
    message = refusal(sets)
    assert "lists 3 files, but 1 of them are not there" in message and "images holds 0.jpg, 2.jpg." in message
    (sets / "val_set").rename(sets / "valid")
    write_face(sets / "train_set", "10", 6)
    message = refusal(sets)
    assert "val_set/annotations/0_exp.npy or the like: no such file" in message and "holds train_set, valid." in message


def test_another_folder_is_no_release(tmp_path):
    (tmp_path / "Automatically_Annotated").mkdir()
    message = refusal(tmp_path)
    assert "neither release" in message and "holds Automatically_Annotated." in message and "train_set and val_set" in message
    assert "does not exist" in refusal(tmp_path / "nowhere")
