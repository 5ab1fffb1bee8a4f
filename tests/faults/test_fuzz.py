"""Whatever bytes or values a file holds, reading it gives a result or one mien error: no traceback, no hang, no growth."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from mien.data.manifest import Manifest
from mien.data.readers import affectnet, drawn, ferplus, folder, label_list, rafdb, table_file
from mien.data.readers.answers_file import read_answers
from mien.data.table import SampleTable
from mien.errors import MienError, TableError
from mien.evaluate.choice import read_metrics
from mien.learn.suite import Suite
from mien.predict.model_folder import ModelConfig, read_config
from mien.predict.predictions import Predictions
from mien.recipe import Recipe

INPUTS = int(os.environ.get("MIEN_FUZZ", "300"))  # in all; `make fuzz` gives more
# Bytes by which a process may grow while it reads what it read before: of each input Hypothesis remembers some kilobytes.
GROWTH = (200 << 20) + 2048 * INPUTS
MODEL = ModelConfig({"encoder": "none"}, ("calm", "glad"), 4, 1, temperature=2.0, level=0.9, threshold=0.3)

# What has broken readers of text before.
PIECES = [b"", b",", b'"', b"\n", b"\r", b"\t", b"\0", b"nan", b"inf", b"-1", b"1e999", b"9" * 30, b"\xff", b"../../x", b"a,b"]
PIECES += [
    piece.encode() for piece in ("٣", "²", "é", "\u2028", "\ufeff", "=1+1", "{}", "[]", "null", "true", "0x1", "1_0", "&a *a")
]
PIECES += [b"!!int ''", b"!!timestamp x", b"2001-13-45", b"? [a]", b"<<: 1", b"[" * 3000, b"9" * 5000]


def inputs(share: float) -> Callable:
    """Gives a test its share of all inputs."""
    quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=max(5, round(INPUTS * share)), suppress_health_check=quiet)


@st.composite
def spoiled(draw: Callable, whole: bytes) -> bytes:
    """Bytes, mostly those of a whole file with some of them replaced."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(whole)))
        end = start + draw(st.sampled_from([0, 1, 2, 5, 30, 10_000]))
        whole = whole[:start] + draw(st.sampled_from(PIECES) | st.binary(max_size=8)) + whole[end:]
    return whole


def answers_or_refuses(read: Callable[[], Any]) -> None:
    try:
        read()
    except MienError as error:
        assert all(line.strip() for line in str(error).split("\n")), error  # a list of bad rows has several


@pytest.fixture(autouse=True, scope="module")
def growth() -> Iterator[None]:
    def used() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    if not Path("/proc/self/statm").exists():
        pytest.skip("there is no /proc")
    before = used()
    yield
    assert used() - before < GROWTH


# ---------------------------------------------------------------------- files of text, spoiled


class Layout(NamedTuple):
    """Files of a small whole data set, those among them that are spoiled, and what reads them."""

    files: dict[str, bytes]
    spoil: list[str]
    read: Callable[[Path], Any]


def npy(value: Any) -> bytes:
    import io

    file = io.BytesIO()
    np.save(file, np.array(value))
    return file.getvalue()


def png(side: int) -> bytes:
    import io

    file = io.BytesIO()
    Image.new("L", (side, side), 90).save(file, "PNG")
    return file.getvalue()


COUNTS = "5,3,2,0,0,0,0,0,0,0"
NAMES = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
MARKS = ";".join(["1.5"] * 136)
AFFECTNET = f"1/a.png,3,4,20,21,{MARKS},1,0.7,-0.1\n1/b.png,0,0,30,31,{MARKS},6,-0.5,0.25\n"
LISTS = "Manually_Annotated_file_lists"


def layouts() -> dict[str, Layout]:
    faces, size = ("a", "b", "c"), " ".join(["7"] * 2304)
    pictures = {f"{one}.png": png(8) for one in faces}
    plus = {f"{part}/{one}.png": png(48) for part in ("FER2013Train", "FER2013Valid") for one in faces}
    plus |= {
        f"{part}/label.csv": "".join(f'{one}.png,"(0, 0, 48, 48)",{COUNTS}\n' for one in faces).encode()
        for part in ("FER2013Train", "FER2013Valid")
    }
    two = {
        "fer2013.csv": f"emotion,pixels,Usage\n0,{size},Training\n3,{size},PublicTest\n".encode(),
        "fer2013new.csv": f"Usage,Image name,{NAMES}\nTraining,fer0.png,{COUNTS}\nPublicTest,fer1.png,{COUNTS}\n".encode(),
    }
    raf = {
        f"Image/{kind}/train_{n}{end}": png(8)
        for n in range(3)
        for kind, end in (("aligned", "_aligned.jpg"), ("original", ".jpg"))
    }
    raf |= {"EmoLabel/list_patition_label.txt": b"train_0.jpg 5\ntrain_1.jpg 1\ntrain_2.jpg 7\n"}
    raf |= {f"Annotation/manual/train_{n}_manu_attri.txt": b"1.5\t2\n3\t4\n5\t6\n7\t8\n9\t10\n1\n0\n2\n" for n in range(3)}
    lists = {f"{LISTS}/training.csv": AFFECTNET.encode(), f"{LISTS}/validation.csv": AFFECTNET.replace("1/", "2/").encode()}
    lists |= {f"Manually_Annotated_Images/{n}/{one}.png": png(8) for n in (1, 2) for one in "ab"}
    sets = {f"{part}/images/{n}.jpg": png(8) for part in ("train_set", "val_set") for n in range(3)}
    for part in ("train_set", "val_set"):
        for n in range(3):
            for kind, value in (("exp", str(n)), ("lnd", [1.5] * 136), ("val", "0.5"), ("aro", -0.25)):
                sets[f"{part}/annotations/{n}_{kind}.npy"] = npy(value)
    csv = 'path,label,box,split,calm,glad\na.png,calm,"[0, 0, 4, 4]",train,3,1\nb.png,glad,,val,1,4\nc.png,,,train,2,2\n'
    rows = [{"path": f"{one}.png", "label": "calm" if one == "a" else "glad", "votes": [1, 2]} for one in faces]
    given = b"sample,annotator,answer,seconds\na,x,neutral,1.5\na,y,fear,2\nb,x,anger,\n"
    studio = [{"data": {"sample": "a"}, "annotations": [{"completed_by": 1, "result": [{"value": {"choices": ["fear"]}}]}]}]
    metrics = "".join(f'{{"step": {n}, "epoch": {n}, "name": "train/loss", "value": 0.5}}\n' for n in range(2))
    shards = [{"file": f"images-{n:05}.parquet", "first": n, "pictures": 1, "size": 2, "blake2b": "c0"} for n in range(2)]
    shards[1]["missing"] = [[0, "b.png", "No such file"]]
    manifest = {"version": 1, "of": "c0", "pictures": 2, "complete": True, "shards": [{"missing": [], **one} for one in shards]}
    classes = {"classes": ("calm", "glad")}
    table = drawn.read(faces=8)
    return {
        "ferplus": Layout(plus, ["FER2013Train/label.csv"], ferplus.read),
        "ferplus, two lists": Layout(two, list(two), ferplus.read),
        "rafdb": Layout(raf, ["EmoLabel/list_patition_label.txt"], rafdb.read),
        "rafdb, points": Layout(
            raf, ["Annotation/manual/train_0_manu_attri.txt"], lambda root: rafdb.read(root, aligned=False)
        ),
        "affectnet, lists": Layout(lists, [f"{LISTS}/training.csv"], affectnet.read),
        "affectnet, sets": Layout(
            sets, [f"train_set/annotations/1_{kind}.npy" for kind in ("exp", "lnd", "val")], affectnet.read
        ),
        "csv": Layout({**pictures, "t.csv": csv.encode()}, ["t.csv"], lambda root: table_file.read(root / "t.csv", **classes)),
        "jsonl": Layout(
            {**pictures, "t.jsonl": "\n".join(map(json.dumps, rows)).encode()},
            ["t.jsonl"],
            lambda root: table_file.read(root / "t.jsonl", **classes),
        ),
        "label list": Layout(
            {"list.txt": b"drawn_00001.png 3\n2/drawn_00002.png\n"},
            ["list.txt"],
            lambda root: label_list.label_by_list(table, [root / "list.txt"]),
        ),
        "answers": Layout({"a.csv": given}, ["a.csv"], lambda root: read_answers(root / "a.csv", key="k" * 16)),
        "label studio": Layout(
            {"a.json": json.dumps(studio).encode()}, ["a.json"], lambda root: read_answers(root / "a.json", key="k" * 16)
        ),
        "manifest": Layout(
            {"manifest.json": json.dumps(manifest).encode(), **{one["file"]: b"ab" for one in shards}},
            ["manifest.json"],
            lambda root: Manifest.read(root).require_whole(root),
        ),
        "metrics": Layout(
            {"metrics.jsonl": metrics.encode()}, ["metrics.jsonl"], lambda root: read_metrics(root / "metrics.jsonl")
        ),
        "config": Layout({"config.json": MODEL.to_json().encode()}, ["config.json"], read_config),
        "sealed config": Layout({"config.json": MODEL.to_json(sealed=True).encode()}, ["config.json"], read_config),
    }


LAYOUTS = layouts()


@pytest.mark.parametrize("name", LAYOUTS)
@inputs(0.0336)
@given(data=st.data())
def test_spoiled_files_of_text_give_a_table_or_one_sentence(tmp_path: Path, name: str, data: st.DataObject) -> None:
    layout = LAYOUTS[name]
    for path, content in layout.files.items():
        if not (tmp_path / path).is_file():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content)
    path = data.draw(st.sampled_from(layout.spoil))
    (tmp_path / path).write_bytes(data.draw(spoiled(layout.files[path])))
    try:
        answers_or_refuses(lambda: layout.read(tmp_path))
    finally:
        (tmp_path / path).write_bytes(layout.files[path])


LABELS = {
    "label list": ("list.txt", b".png ", b"3"),
    "csv": ("t.csv", b"a.png,", b"calm"),
    "ferplus, two lists": ("fer2013.csv", b"\n", b"3"),
}


@pytest.mark.parametrize("name", LABELS)
def test_a_label_of_thousands_of_digits_is_refused(tmp_path: Path, name: str) -> None:
    layout, (file, before, label) = LAYOUTS[name], LABELS[name]
    for path, content in layout.files.items():
        (tmp_path / path).write_bytes(content)
    (tmp_path / file).write_bytes(layout.files[file].replace(before + label, before + b"9" * 5000))
    with pytest.raises(TableError, match=r"line \d"):
        layout.read(tmp_path)


@inputs(0.026)
@given(names=st.lists(st.text(st.characters(blacklist_characters="/\0", codec="utf-8"), min_size=1, max_size=30), max_size=5))
def test_folders_and_files_of_any_name_give_a_table_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, names: list
) -> None:
    root = tmp_path_factory.mktemp("any")
    for place, name in enumerate(names):
        assume(name not in (".", "..") and len(name.encode()) < 200)
        where = root / name if place % 2 else root / "face"
        if not where.is_file():
            where.mkdir(parents=True, exist_ok=True)
            if not (where / f"{name}.png").exists():
                (where / f"{name}.png").write_bytes(png(8) if place % 3 else name.encode())
    answers_or_refuses(lambda: folder.read(root))


# ---------------------------------------------------------------------- YAML

RECIPE = (Path(__file__).parents[2] / "recipes" / "partial" / "revision.yaml").read_bytes()
SUITE = b"""name: s
budget: 10
arms: {a: {recipe: r.yaml}, b: {recipe: r.yaml, set: {train.epochs: 2}}}
runs: [{arms: [a, b], seeds: [0, 1]}]
tables: [{title: T, baseline: a, arms: [b]}]
figures: [{name: f, title: F, kind: values, arms: [a], by: train.epochs}]
"""
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["0.5", "../x", "a:b", "1/5"])
)
NESTED = PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), PLAIN, max_size=3)
VALUES = NESTED | st.lists(NESTED, max_size=3) | st.dictionaries(st.text(max_size=5), NESTED, max_size=3)


@pytest.mark.parametrize(("whole", "read"), [(RECIPE, Recipe.read), (SUITE, Suite.read)], ids=["recipe", "suite"])
@inputs(0.05)
@given(data=st.data())
def test_spoiled_yaml_gives_a_recipe_or_one_sentence(tmp_path: Path, whole: bytes, read: Callable, data: st.DataObject) -> None:
    (tmp_path / "r.yaml").write_bytes(data.draw(spoiled(whole)))
    answers_or_refuses(lambda: read(tmp_path / "r.yaml"))


@inputs(0.05)
@given(data=st.data())
def test_any_value_of_any_key_of_a_recipe_is_taken_or_refused(data: st.DataObject) -> None:
    content = yaml.safe_load(RECIPE)
    section = data.draw(st.sampled_from(sorted(content)))
    if isinstance(content[section], dict) and data.draw(st.booleans()):
        content[section][data.draw(st.sampled_from(sorted(content[section])) | st.text(max_size=5))] = data.draw(VALUES)
    else:
        content[section] = data.draw(VALUES)
    answers_or_refuses(lambda: Recipe.from_dict(content))


# ---------------------------------------------------------------------- models, predictions, tables


@inputs(0.04)
@given(key=st.sampled_from(sorted(json.loads(MODEL.to_json()))), value=VALUES)
def test_any_value_of_any_key_of_a_model_s_config_is_taken_or_refused(tmp_path: Path, key: str, value: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**json.loads(MODEL.to_json()), key: value}))
    answers_or_refuses(lambda: read_config(tmp_path))


def write_both(folder: Path) -> None:
    drawn.read(faces=6).write(folder / "t.parquet", overwrite=True)
    probs = np.full((3, 2), 0.5, np.float32)
    own = {"time": np.arange(3)}
    Predictions(("a", "b", "c"), probs, ("calm", "glad"), probs > 0.4, model="m", own=own).write(
        folder / "p.parquet", overwrite=True
    )


READ = {"t.parquet": SampleTable.read, "p.parquet": Predictions.read}


@pytest.mark.parametrize("name", READ)
@inputs(0.04)
@given(data=st.data())
def test_spoiled_parquet_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "parquet"
    folder.mkdir(exist_ok=True)
    if not (folder / name).exists():
        write_both(folder)
    (folder / f"spoiled-{name}").write_bytes(data.draw(spoiled((folder / name).read_bytes())))
    answers_or_refuses(lambda: READ[name](folder / f"spoiled-{name}"))


COLUMNS = (
    "sample",
    "path",
    "image",
    "split",
    "label",
    "label_x",
    "votes",
    "candidates",
    "box",
    "points",
    "group",
    "status",
    "prob_calm",
)
COLUMNS += ("prob_glad", "label_set", "score", "problem", "time")
CELLS = [
    st.text(max_size=5),
    st.integers(-3, 300),
    st.floats(),
    st.binary(max_size=5),
    st.booleans(),
    st.lists(st.floats(width=32), max_size=4),
    st.lists(st.integers(-1, 9), min_size=2, max_size=2),
    st.lists(st.booleans(), min_size=2, max_size=2),
    st.lists(st.text(max_size=3), max_size=3),
]


@pytest.mark.parametrize("name", READ)
@inputs(0.05)
@given(data=st.data())
def test_parquet_of_any_columns_is_read_or_refused(tmp_path: Path, name: str, data: st.DataObject) -> None:
    rows, columns = data.draw(st.integers(0, 3)), {}
    for column in data.draw(st.lists(st.sampled_from(COLUMNS), unique=True)):
        cell = data.draw(st.sampled_from(CELLS))
        columns[column] = pa.array(data.draw(st.lists(cell | st.none(), min_size=rows, max_size=rows)))
    about = {"version": 1, "classes": ["calm", "glad"], "vote_names": ["calm", "glad"], "root": None, "label_rule": None}
    about |= {"source": None, "licence": None, "how": [], "model": None}
    for key in data.draw(st.lists(st.sampled_from([*about, "own", "geometry", "recipe"]), max_size=2)):
        about[key] = data.draw(VALUES)
    table = pa.table(columns).replace_schema_metadata({b"mien": json.dumps(about).encode()})
    pq.write_table(table, tmp_path / name)
    answers_or_refuses(lambda: READ[name](tmp_path / name))
