"""What cannot be used is refused by one sentence and a code, and everything stays as it was."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from mien import cli
from mien.data.table import SampleTable
from mien.learn import checkpoint
from mien.predict.predictions import Predictions


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.fixture
def refuse(line: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> Callable:
    """Gives a command and checks that it ends with a code and one sentence that has some words, and changes no file."""

    def check(code: int, words: list[str], *tokens: object) -> None:
        before = contents(tmp_path) | contents(line)
        capsys.readouterr()
        assert cli.main([str(token) for token in tokens]) == code
        shown = capsys.readouterr()
        *said, message = shown.err.splitlines()
        assert shown.out == "" and not [row for row in said if row.startswith("mien: ")]
        assert message.startswith("mien: ") and message.endswith((".", "…")), message
        assert [word for word in words if word not in message] == [], message
        assert contents(tmp_path) | contents(line) == before

    return check


@pytest.fixture
def recipe(line: Path, tmp_path: Path, write_recipe: Callable) -> Callable[..., Path]:
    """Writes the recipe of label queries with sections or keys changed."""

    def write(**sections: Any) -> Path:
        content = yaml.safe_load((line / "tune.yaml").read_text())
        for name, keys in sections.items():
            content[name] = {**content[name], **keys} if isinstance(keys, dict) else keys
        return write_recipe(tmp_path / "recipe.yaml", content)

    return write


@pytest.fixture
def faces(line: Path) -> SampleTable:
    return SampleTable.read(line / "faces.parquet")


def write_by_hand(path: Path, table: SampleTable, **columns: Any) -> Path:
    """Writes a table past its checks, as another program might."""
    changed = table.columns
    for name, values in columns.items():
        place = changed.schema.get_field_index(name)
        changed = changed.set_column(place, name, pa.array(values, changed.schema.field(place).type))
    about = {"version": 1, "classes": table.classes, "vote_names": table.vote_names, "root": None, "label_rule": "majority"}
    about |= {"source": None, "licence": None, "how": []}
    pq.write_table(changed.replace_schema_metadata({b"mien": json.dumps(about).encode()}), path)
    return path


# ---------------------------------------------------------------------- an owner's layout


@pytest.fixture
def owned(tmp_path: Path) -> Path:
    """A small folder in the layout of FERPlus."""
    for folder in ("FER2013Train", "FER2013Valid"):
        (tmp_path / "owned" / folder).mkdir(parents=True)
        rows = [f'{folder}_{place}.png,"(0, 0, 48, 48)",' + ",".join("5320000000") for place in range(3)]
        (tmp_path / "owned" / folder / "label.csv").write_text("\n".join(rows) + "\n")
        for place in range(3):
            Image.new("L", (48, 48), 80 * place).save(tmp_path / "owned" / folder / f"{folder}_{place}.png")
    return tmp_path / "owned"


def imports(root: Path, out: Path) -> tuple[object, ...]:
    return ("data", "import", "ferplus", "--root", root, "--out", out)


def test_a_whole_folder_is_accepted(owned: Path, tmp_path: Path) -> None:
    assert cli.main([str(token) for token in imports(owned, tmp_path / "t.parquet")]) == 0


def test_a_missing_root_is_refused(refuse: Callable, tmp_path: Path) -> None:
    words = ["nowhere", "does not exist", "Expected the folder that holds FER2013Train", "--root"]
    refuse(3, words, *imports(tmp_path / "nowhere", tmp_path / "t.parquet"))


def test_a_half_copied_archive_is_refused(refuse: Callable, owned: Path, tmp_path: Path) -> None:
    (owned / "FER2013Train" / "FER2013Train_1.png").unlink()
    words = ["lists 3 images, but 1 of them are not there", "FER2013Train_1.png", "copy the folder again"]
    refuse(3, words, *imports(owned, tmp_path / "t.parquet"))


def test_the_label_file_of_another_data_set_is_refused(refuse: Callable, owned: Path, tmp_path: Path) -> None:
    (owned / "FER2013Valid" / "label.csv").write_text("train_00001_aligned.jpg 5\ntrain_00002_aligned.jpg 5\n")
    words = ["FER2013Valid/label.csv, line 1", "1 columns. Expected 12", "pass a FERPlus folder"]
    refuse(3, words, *imports(owned, tmp_path / "t.parquet"))


# ---------------------------------------------------------------------- a table


def test_an_unknown_class_name_is_refused(refuse: Callable, faces: SampleTable, recipe: Callable, tmp_path: Path) -> None:
    labels = faces.values("label")
    labels[7] = "joy"
    table = write_by_hand(tmp_path / "t.parquet", faces, label=labels)
    words = ["t.parquet", f"row 7 ({faces.samples[7]})", "label is 'joy'", "Expected one of: neutral, happiness"]
    refuse(3, words, "train", recipe(data={"table": str(table)}), "--out", tmp_path / "run")
    refuse(3, words, "data", "check", table)


def test_an_empty_candidate_set_is_refused(refuse: Callable, faces: SampleTable, recipe: Callable, tmp_path: Path) -> None:
    sets = faces.candidates
    sets[3] = False
    table = write_by_hand(tmp_path / "t.parquet", faces, candidates=sets.tolist())
    words = ["t.parquet", f"row 3 ({faces.samples[3]})", "candidates are empty", "at least one", "mien candidates"]
    refuse(3, words, "train", recipe(data={"table": str(table)}), "--out", tmp_path / "run")


def test_a_table_whose_images_moved_is_refused(refuse: Callable, faces: SampleTable, recipe: Callable, tmp_path: Path) -> None:
    columns = {name: faces.values(name) for name in ("sample", "split", "label")}
    moved = SampleTable.from_columns(
        {**columns, "votes": faces.votes, "candidates": faces.candidates, "path": [f"{name}.png" for name in faces.samples]},
        classes=faces.classes,
        vote_names=faces.vote_names,
        root=tmp_path / "moved",
    )
    moved.write(tmp_path / "t.parquet")
    words = [str(tmp_path / "moved"), "260 of 260 images are not there", "drawn_00000.png", "--data.root"]
    refuse(3, words, "train", recipe(data={"table": str(tmp_path / "t.parquet")}), "--out", tmp_path / "run")


def test_data_without_candidates_are_refused(refuse: Callable, line: Path, recipe: Callable, tmp_path: Path) -> None:
    words = ["drawn.parquet", "of 185 rows in train none has candidates", "candidates section", "mien candidates"]
    refuse(3, words, "train", recipe(data={"table": str(line / "drawn.parquet")}), "--out", tmp_path / "run")


def test_choosing_by_votes_that_select_lacks_is_refused(
    refuse: Callable, faces: SampleTable, recipe: Callable, tmp_path: Path
) -> None:
    faces.take(faces.splits != "select").write(tmp_path / "t.parquet")
    words = ["choose.by is 'vote_accuracy'", "none of the 0 faces of split 'select' has votes", "choose.by: last"]
    refuse(2, words, "train", recipe(data={"table": str(tmp_path / "t.parquet")}), "--out", tmp_path / "run")


# ---------------------------------------------------------------------- a recipe


def test_a_misspelt_key_is_refused(refuse: Callable, recipe: Callable, tmp_path: Path) -> None:
    words = ["recipe.yaml", "train.epoch is not a known key", "Did you mean epochs?", "batch_size"]
    refuse(2, words, "train", recipe(train={"epoch": 3}), "--out", tmp_path / "run")


def test_a_misspelt_argument_of_the_objective_is_refused(refuse: Callable, recipe: Callable, tmp_path: Path) -> None:
    words = ["objective.treshold is not an argument of Revision", "Did you mean threshold?", "temperature"]
    refuse(2, words, "train", recipe(objective={"treshold": 0.3}), "--out", tmp_path / "run")


def test_a_value_of_another_kind_is_refused(refuse: Callable, recipe: Callable, tmp_path: Path) -> None:
    words = ["recipe.yaml", "train.epochs is 'many'", "valid integer"]
    refuse(2, words, "train", recipe(), "--train.epochs", "many", "--out", tmp_path / "run")


def test_a_recipe_that_names_the_test_split_is_refused(refuse: Callable, recipe: Callable, tmp_path: Path) -> None:
    words = ["recipe.yaml: data.splits is {'report': 'test'}", "No training may see the test split", "use train, select"]
    refuse(2, words, "train", recipe(data={"splits": {"report": "test"}}), "--out", tmp_path / "run")


def test_an_objective_whose_needs_are_not_given_is_refused(refuse: Callable, recipe: Callable, tmp_path: Path) -> None:
    words = ["objective revision needs 'queries'", "neither this model nor the data gives", "Use head: label_query"]
    refuse(2, words, "train", recipe(model={"head": "linear"}), "--out", tmp_path / "run")


def test_more_micro_batches_than_faces_in_a_step_are_refused(refuse: Callable, recipe: Callable, tmp_path: Path) -> None:
    words = ["train.batch_size 4 gives steps of 3 faces", "1 ranks × 8 micro-batches", "lower train.accumulate"]
    refuse(2, words, "train", recipe(train={"batch_size": 4, "accumulate": 8}), "--out", tmp_path / "run")


def test_a_start_from_an_encoder_of_another_shape_is_refused(
    refuse: Callable, line: Path, recipe: Callable, tmp_path: Path
) -> None:
    wide = {"name": "vit_small_48", "width": 32, "depth": 1, "heads": 2, "stem": "patch"}
    words = [f"start {line / 'pretrain'}", "encoder.blocks.0.narrow.bias is (16,), this recipe's is (32,)", "same encoder"]
    refuse(3, words, "train", recipe(model={"encoder": wide}), "--out", tmp_path / "run")


def test_a_start_that_is_not_there_says_from_where_its_path_is_read(refuse: Callable, recipe: Callable, tmp_path: Path) -> None:
    words = ["start.encoder: model nowhere/at/all: there is no such folder", "the folder in which mien is run", "--start null"]
    refuse(3, words, "train", recipe(start={"encoder": "nowhere/at/all"}), "--out", tmp_path / "run")


def test_a_dry_run_leaves_nothing(recipe: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = recipe()
    before = contents(tmp_path)
    assert cli.main(["train", str(path), "--out", str(tmp_path / "run"), "--dry-run", "--train.epochs", "3"]) == 0
    shown = capsys.readouterr().out
    assert yaml.safe_load(shown[: shown.index("faces to learn from")])["train"]["epochs"] == 3
    assert "faces to learn from  185 (0 left out)" in shown and "12 an epoch, 36 in all" in shown
    assert contents(tmp_path) == before


# ---------------------------------------------------------------------- a run folder


@pytest.fixture
def unfinished(line: Path, tmp_path: Path) -> Path:
    """A copy of the fine-tuned run, as it stood before its end."""
    shutil.copytree(line / "tune", tmp_path / "run")
    (tmp_path / "run" / "DONE").unlink()
    return tmp_path / "run"


def test_a_run_that_exists_is_refused(refuse: Callable, line: Path) -> None:
    words = [f"run {line / 'tune'} exists", "another --out", "--resume or --overwrite"]
    refuse(2, words, "train", line / "tune.yaml", "--out", line / "tune")


def test_a_folder_that_is_no_run_is_never_overwritten(refuse: Callable, line: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    words = [f"run {tmp_path / 'run'} holds something that is no run", "Nothing is deleted"]
    refuse(2, words, "train", line / "tune.yaml", "--out", tmp_path / "run", "--overwrite")


def test_an_overwrite_that_is_refused_keeps_the_old_run(refuse: Callable, recipe: Callable, unfinished: Path) -> None:
    words = ["objective revision needs 'queries'"]
    refuse(2, words, "train", recipe(model={"head": "linear"}), "--out", unfinished, "--overwrite")


def test_resuming_without_a_run_is_refused(refuse: Callable, line: Path, tmp_path: Path) -> None:
    words = [f"run {tmp_path / 'run'}: there is no run to resume", "Start it without --resume"]
    refuse(2, words, "train", line / "tune.yaml", "--out", tmp_path / "run", "--resume")


@pytest.mark.parametrize("finished", [False, True], ids=["unfinished", "finished"])
def test_resuming_by_another_recipe_is_refused(refuse: Callable, recipe: Callable, unfinished: Path, finished: bool) -> None:
    if finished:
        (unfinished / "DONE").write_text("{}")
    words = [f"run {unfinished}: optimizer.lr was 0.003", "is 0.004 now", "same recipe, or start a new run"]
    refuse(2, words, "train", recipe(optimizer={"lr": 0.004}), "--out", unfinished, "--resume")


def test_resuming_with_another_list_of_samples_is_refused(
    refuse: Callable, line: Path, faces: SampleTable, unfinished: Path, tmp_path: Path
) -> None:
    train = np.flatnonzero(faces.splits == "train")
    faces.take(np.delete(np.arange(len(faces)), train[4])).write(tmp_path / "t.parquet")
    recipe = (unfinished / "recipe.yaml").read_text().replace(str(line / "faces.parquet"), str(tmp_path / "t.parquet"))
    (unfinished / "recipe.yaml").write_text(recipe)  # the same recipe, whose table is another one by now
    first, other = (repr(faces.samples[row]) for row in train[4:6])
    words = [f"run {unfinished}: sample 4 of the training list was {first}", f"is {other} now", "same table"]
    refuse(2, words, "train", unfinished / "recipe.yaml", "--out", unfinished, "--resume")


def test_resuming_with_other_broken_pictures_is_refused(refuse: Callable, line: Path, unfinished: Path) -> None:
    about = json.loads((unfinished / "data.json").read_text())
    about["broken"] = {"drawn_00003": "drawn_00003: not a readable picture"}
    (unfinished / "data.json").write_text(json.dumps(about))
    words = [f"run {unfinished}: the picture of drawn_00003 was broken when it started and is readable now", "same pictures"]
    refuse(2, words, "train", line / "tune.yaml", "--out", unfinished, "--resume")


@pytest.mark.parametrize("damage", ["cut short", "other bytes"])
def test_a_damaged_checkpoint_is_refused(refuse: Callable, line: Path, unfinished: Path, damage: str) -> None:
    path = unfinished / "checkpoints" / "last.pt"
    path.write_bytes(path.read_bytes()[:5000] if damage == "cut short" else b"no checkpoint at all")
    words = [f"checkpoint {path}: cannot be read (", "Start the run anew"]
    refuse(3, words, "train", line / "tune.yaml", "--out", unfinished, "--resume")


# ---------------------------------------------------------------------- a model


def predicts(line: Path, model: Path, out: Path) -> tuple[object, ...]:
    return ("predict", line / "faces.parquet", "--model", model, "--out", out)


def test_a_pre_training_model_does_not_predict(refuse: Callable, line: Path, tmp_path: Path) -> None:
    words = [f"model {line / 'pretrain' / 'model'}", "a pre-training model, which has no classes", "start.encoder"]
    refuse(3, words, *predicts(line, line / "pretrain", tmp_path / "p.parquet"))


@pytest.mark.parametrize("command", ["predict", "start"])
def test_a_model_with_a_wrong_hash_is_refused(
    refuse: Callable, line: Path, recipe: Callable, tmp_path: Path, command: str
) -> None:
    model = tmp_path / "model"
    shutil.copytree(line / "tune" / "model", model)
    name = "model.onnx" if command == "predict" else "model.safetensors"
    with (model / name).open("r+b") as file:
        file.seek(-1, io.SEEK_END)
        file.write(b"?")
    words = [f"model {model}: {name} has SHA-256", "config.json says", "Copy the folder again"]
    train = ("train", recipe(start={"encoder": str(model)}), "--out", tmp_path / "run")
    refuse(3, words, *(predicts(line, model, tmp_path / "p.parquet") if command == "predict" else train))


def test_a_folder_that_is_no_model_is_refused(refuse: Callable, line: Path, tmp_path: Path) -> None:
    words = [f"model {tmp_path}: there is no config.json", "Expected a model folder"]
    refuse(3, words, *predicts(line, tmp_path, tmp_path / "p.parquet"))


# ---------------------------------------------------------------------- unreadable pictures


@pytest.fixture
def partly_broken(faces: SampleTable, tmp_path: Path) -> Path:
    """Three training faces and one of report are no pictures."""
    images = faces.values("image")
    rows = [*np.flatnonzero(faces.splits == "train")[[0, 50, 100]], np.flatnonzero(faces.splits == "report")[2]]
    for row in rows:
        images[row] = b"no picture"
    faces.with_column("image", images).write(tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


def test_more_unreadable_pictures_than_a_stated_share_are_refused(
    refuse: Callable, recipe: Callable, partly_broken: Path, tmp_path: Path
) -> None:
    words = ["t.parquet", "3 of 185 pictures of train cannot be read, more than train.max_broken_share 0.01", "First: drawn_0"]
    content = recipe(data={"table": str(partly_broken), "splits": {"report": None}})
    refuse(3, words, "train", content, "--out", tmp_path / "run")


@pytest.mark.usefixtures("without_onnx")
def test_a_few_unreadable_pictures_are_skipped_counted_and_listed(
    recipe: Callable, faces: SampleTable, partly_broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = tmp_path / "run"
    content = recipe(data={"table": str(partly_broken)}, train={"epochs": 2, "max_broken_share": 0.05})
    assert cli.main(["train", str(content), "--out", str(run)]) == 0
    train, report = faces.in_split("train"), faces.in_split("report")
    names = [train.samples[row] for row in (0, 50, 100)]
    said = capsys.readouterr().err
    assert all(f"skipped {name}: not a " in said for name in [*names, report.samples[2]])
    about = json.loads((run / "data.json").read_text())
    assert list(about["broken"]) == [report.samples[2], *names]
    assert about["samples"] == train.samples, "a broken picture keeps its row"
    # Nothing was learned about them: their label weights are still as the candidate set says.
    found = pq.read_table(run / "labels" / "epoch_0001.parquet")
    weights = np.stack([np.asarray(found[f"weight_{name}"], np.float32) for name in faces.classes], 1)
    start = train.candidates / train.candidates.sum(1, keepdims=True)
    np.testing.assert_allclose(weights[[0, 50, 100]], start[[0, 50, 100]], atol=1e-3)
    assert checkpoint.load(run / "checkpoints" / "last.pt")["step"] == 2 * 12
    # A face without an answer counts as an error.
    predictions = Predictions.read(run / "predictions" / "report.parquet")
    assert predictions.samples == tuple(report.samples)
    assert [place for place, status in enumerate(predictions.status) if status == "broken"] == [2]
    numbers = json.loads((run / "report" / "report.json").read_text())["numbers"]
    assert numbers["coverage"]["value"] == pytest.approx(38 / 39)
