import base64
import io
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper
from PIL import Image

from mien import cli
from mien.audit.neighbours import BINS, CELL, gradients, nearest, of_file, of_model, of_pixels
from mien.audit.report import write_report
from mien.audit.run import audit
from mien.data.images import load_images
from mien.data.readers import drawn
from mien.data.table import SampleTable
from mien.errors import RunError, TableError, WeightsError
from mien.predict.model_folder import ModelConfig, sha256
from mien.predict.predictions import Predictions

HOSTILE = "<script>alert(1)</script>"
NUM = 120


@pytest.fixture(scope="module")
def made():
    """A table of drawn faces with candidate sets whose samples, classes and source are markup, predictions, and their audit."""
    plain = drawn.read(faces=NUM, size=16)
    classes = tuple(f"<b>{name}</b>" for name in plain.classes)
    labels = plain.labels("label_true")
    labels[labels == 7] = -1  # no label names the last class
    table = SampleTable.from_columns(
        {
            "sample": [f"{HOSTILE}{row}" for row in range(NUM)],
            "image": plain.columns["image"].to_pylist(),
            "split": ["train"] * 100 + ["report"] * 20,
            "votes": plain.votes,
            "label": [classes[place] if place >= 0 else None for place in labels],
            "candidates": plain.class_votes >= 2,
        },
        classes=classes,
        vote_names=(*classes, *(f"<u>{name}</u>" for name in plain.vote_names[8:])),
        source="<i>faces</i>",
        licence="<p>",
    )
    random = np.random.default_rng(0)
    seen = np.where(random.random(NUM) < 0.8, labels % 8, random.integers(0, 8, NUM))
    predictions = Predictions(tuple(table.samples), (0.05 + 0.6 * np.eye(8)[seen]).astype(np.float32), classes)
    predictions = replace(predictions, recipe={"data": {"fold": "1/5", "splits": {"train": "train"}}})
    return table, predictions, audit(table, predictions)


@pytest.fixture
def run(made, tmp_path):
    """A run whose label weights go from even to one class, for the first hundred faces."""
    table, _, _ = made
    folder = tmp_path / "<em>run" / "labels"
    folder.mkdir(parents=True)
    for epoch, share in enumerate((0.125, 0.3, 0.65)):
        weights = [share] + [(1 - share) / 7] * 7
        columns = {f"weight_{name}": [weight] * 100 for name, weight in zip(table.classes, weights, strict=True)}
        pq.write_table(pa.table({"sample": table.samples[:100], **columns}), folder / f"epoch_{epoch:04d}.parquet")
    return folder.parent


def pictures_in(tags):
    sources = [attrs["src"] for tag, attrs in tags if tag == "img"]
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    return [Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))) for source in sources]


def cells(html, caption):
    """The numbers of a table by the name of the row, which is the text of its first cell up to a line break."""
    body = re.search(rf"<caption>{caption}.*?<tbody>(.*?)</tbody>", html, re.S)[1]
    rows = re.findall(r'<tr><th scope="row">(.*?)(?:<br>.*?)?</th>(.*?)</tr>', body, re.S)
    return {name: [int(cell.replace(",", "")) for cell in re.findall(r">([\d,]+)</td>", rest)] for name, rest in rows}


def test_counts_on_the_page_are_those_of_the_audit(made, tmp_path, read_page):
    table, predictions, found = made
    count, notes = write_report(tmp_path / "page.html", table, found, predictions=predictions, most=7)
    html, tags = read_page(tmp_path / "page.html")
    score, labels = np.asarray(found["score"], float), np.array(found["label"].to_pylist(), object)
    assert (count, notes) == (7, []) and [tag for tag, _ in tags].count("article") == 7
    assert f"{NUM} faces were audited, {np.isfinite(score).sum()} of them" in html
    kinds = cells(html, "Faces that count as doubtful")
    assert kinds["label less probable than not"] == [(score < 0.5).sum(), np.isfinite(score).sum()]
    assert kinds["people disagree"][0] == (np.asarray(found["vote_agreement"]) < 0.5).sum()
    assert kinds["votes below chance"][0] == (np.asarray(found["votes_likelihood"]) < 1 / 8).sum()
    assert kinds["truth probably outside the set"][0] == (np.asarray(found["inside_candidates"]) < 0.5).sum()
    every, classes = cells(html, "Doubtful faces by kind"), cells(html, "Labels that are less")
    for place, name in enumerate(table.classes):
        escaped = name.replace("<", "&lt;").replace(">", "&gt;")
        doubtful = ((labels == name) & (score < 0.5)).sum()
        assert classes[escaped] == [(labels == name).sum(), doubtful]
        assert every["label less probable than not"][place] == doubtful
    people = cells(html, "Votes")
    assert [sum(row) for row in people.values()] == [table.votes[labels == name].sum() for name in table.classes]
    assert sum(map(sum, cells(html, "Faces by label").values())) == (labels != None).sum()  # noqa: E711


def test_names_are_text_and_nothing_comes_from_outside(made, run, tmp_path, read_page):
    table, predictions, found = made
    features = tmp_path / "<svg onload=alert(1)>.parquet"
    numbers = np.random.default_rng(0).random((NUM, 3))
    pq.write_table(pa.table({"sample": table.samples, "features": list(numbers)}), features)
    given = pa.table({"sample": table.samples[:2], "annotator": ["<a>ann</a>"] * 2, "answer": [table.classes[0]] * 2})
    options = {"predictions": predictions, "answers": given, "runs": [run], "likeness": of_file(features), "most": 5}
    write_report(tmp_path / "page.html", table, found, **options)
    html, tags = read_page(tmp_path / "page.html")
    names = [tag for tag, _ in tags]
    assert not {"i", "u", "em", "a"} & set(names) and names.count("b") == 15  # label, rather and score of each face
    assert not any(key.startswith("on") for _, attrs in tags for key in attrs)
    assert "&lt;script&gt;" in html and "&lt;svg onload" in html and "&lt;em&gt;run" in html and "&lt;a&gt;ann" in html
    (policy,) = [attrs["content"] for tag, attrs in tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:;") and "script-src" not in policy
    assert not re.search(r"\bnan\b", html, re.I)


def test_everything_can_be_read_aloud(made, run, tmp_path, read_page):
    table, predictions, found = made
    write_report(tmp_path / "page.html", table, found, predictions=predictions, runs=[run], most=4)
    html, tags = read_page(tmp_path / "page.html")
    for one in re.findall(r"<table.*?</table>", html, re.S):
        assert "<caption>" in one and 'scope="col"' in one and 'scope="row"' in one
    for svg in re.findall(r"<svg.*?</svg>", html, re.S):
        assert 'role="img"' in svg and "<title>" in svg and "<desc>" in svg
    assert all(attrs["alt"].startswith("face of <script>") for tag, attrs in tags if tag == "img")
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and all(after - before <= 1 for before, after in pairwise(levels))
    assert "prefers-color-scheme: dark" in html and "@media print" in html and "perceived" in html


@pytest.mark.parametrize(("kind", "sizes"), [("full", {96, 48}), ("small", {32, 24}), ("blurred", {10}), ("none", set())])
def test_pictures_are_no_sharper_than_asked(made, tmp_path, read_page, kind, sizes):
    table, _, found = made
    write_report(tmp_path / "page.html", table, found, pictures=kind, most=2)
    html, tags = read_page(tmp_path / "page.html")
    assert {side for one in pictures_in(tags) for side in one.size} == sizes
    assert ("base64" in html) == bool(sizes) and ("shows no pictures" in html) == (kind == "none")
    assert "training faces that look most alike" in html


def test_pictures_that_are_missing_leave_a_place_and_are_counted(made, tmp_path, read_page):
    table, _, found = made
    lost = table.with_column("image", [b"no picture"] * NUM)
    _, notes = write_report(tmp_path / "page.html", lost, found, most=3)
    html, tags = read_page(tmp_path / "page.html")
    assert notes == ["3 pictures could not be read: a placeholder stands in their place."] and notes[0] in html
    assert html.count('class="blank" role="img"') == 3 and not pictures_in(tags)
    assert "No training face with a label could be compared" in html


def test_label_weights_are_drawn_from_first_epoch_to_last(made, run, tmp_path, read_page):
    table, _, found = made
    write_report(tmp_path / "page.html", table, found, runs=[run], pictures="none", most=NUM)
    html, _ = read_page(tmp_path / "page.html")
    shown = {sample.replace("&lt;", "<").replace("&gt;", ">") for sample in re.findall(r"<h3>(.*?)</h3>", html)}
    assert html.count('class="trace"') == len(shown & set(table.samples[:100])) < len(shown)
    assert "neutral&lt;/b&gt; 12 → 65 %" in html and 'points="0.0,31.5 75.0,25.2 150.0,12.6 "' in html
    with pytest.raises(RunError, match="no label weights in labels/"):
        write_report(tmp_path / "other.html", table, found, runs=[tmp_path])


def test_answers_are_counted_against_their_consensus(made, tmp_path, read_page):
    table, _, found = made
    who = [(row, name) for row in range(NUM) for name in ("ann", "bob")]
    given = {"sample": [table.samples[row] for row, _ in who], "annotator": [name for _, name in who]}
    given["answer"] = [table.classes[(row if name == "ann" else 2 * (row // 2)) % 4] for row, name in who]
    answers = pa.table({name: [*values, extra] for (name, values), extra in zip(given.items(), ("x", "ann", "?"), strict=True)})
    _, notes = write_report(tmp_path / "page.html", table, found, answers=answers, most=1)
    html, _ = read_page(tmp_path / "page.html")
    assert notes == ["1 of 241 answers are about faces that the table lacks, and are left out."]
    counts = np.array(list(cells(html, "Answers").values()))
    assert counts.shape == (8, len(table.vote_names)) and abs(counts.sum() - 240) <= 8  # rounded
    assert abs(counts[:, 1].sum() - 30) <= 2 and set(cells(html, "The 2 people")) == {"ann", "bob"}
    with pytest.raises(TableError, match="none is about a face of the table"):
        write_report(tmp_path / "page.html", table, found, answers=answers.slice(240))


def test_a_budget_is_simulated_where_votes_and_probabilities_are_there_or_the_page_says_why_not(made, tmp_path, read_page):
    table, predictions, found = made
    write_report(tmp_path / "page.html", table, found, predictions=predictions, most=1)
    html, _ = read_page(tmp_path / "page.html")
    assert "votes where in doubt" in html and "Not simulated" not in html
    few = table.with_column("votes", np.eye(len(table.vote_names), dtype=int)[[0] * NUM])
    for rows, seen, why in (
        (table, None, "it needs a table with votes, and --predictions"),
        (few, predictions, "1 votes, 3 are"),
    ):
        write_report(tmp_path / "page.html", rows, found, predictions=seen, most=1)
        assert why in (text := read_page(tmp_path / "page.html")[0]) and "Not simulated" in text


# ---------------------------------------------------------------------- neighbours


def test_gradients_are_the_square_roots_of_a_histogram_in_each_cell():
    image = np.random.default_rng(0).integers(0, 256, (1, 16, 24))
    expected = np.zeros((16 // CELL, 24 // CELL, BINS))
    for row in range(16):
        for column in range(24):
            across = int(image[0, row, column + 1] - image[0, row, column - 1]) if 0 < column < 23 else 0
            down = int(image[0, row + 1, column] - image[0, row - 1, column]) if 0 < row < 15 else 0
            place = int(np.degrees(np.arctan2(down, across)) % 180 // (180 / BINS))
            expected[row // CELL, column // CELL, place] += np.hypot(across, down)
    np.testing.assert_allclose(gradients(image)[0], np.sqrt(expected).ravel(), rtol=1e-5, atol=1e-4)


def test_a_lighter_copy_is_the_nearest_and_no_face_is_its_own_neighbour(made, monkeypatch):
    monkeypatch.setattr("mien.audit.neighbours.CHUNK", 16)
    plain = drawn.read(faces=40, size=16)
    images = plain.columns["image"].to_pylist()
    file = io.BytesIO()
    Image.open(io.BytesIO(images[5])).point(lambda level: level // 2 + 60).save(file, "PNG")
    images[30], images[7] = file.getvalue(), b"no picture"
    table = plain.with_column("image", images)
    shown = np.array([5, 7, 9])
    rows = nearest(table, shown, np.arange(40), of_pixels(), count=3)
    assert rows[0, 0] == 30 and (rows[1] == -1).all()
    assert not (rows == shown[:, None]).any() and 7 not in rows
    assert (nearest(table, shown, np.array([5, 9]), of_pixels(), count=3)[0] == [9, -1, -1]).all()


def test_features_of_ones_own_tell_who_looks_alike(made, tmp_path):
    table, _, _ = made
    features = np.zeros((NUM, 4), np.float32)
    features[:, 0], features[[3, 8], 1] = 1, 1
    file = tmp_path / "features.parquet"
    pq.write_table(pa.table({"sample": table.samples, "features": list(features)}), file)
    assert nearest(table, np.array([3]), np.arange(NUM), of_file(file), count=1).tolist() == [[8]]
    for wrong in ([[1.0], [1.0, 2.0]], [["a"], ["b"]], [[float("nan")]] * 2):
        pq.write_table(pa.table({"sample": ["a", "b"], "features": wrong}), file)
        with pytest.raises(TableError, match="Expected Parquet with the columns sample and features"):
            of_file(file)
    with pytest.raises(TableError, match="cannot be used"):
        of_file(tmp_path / "missing.parquet")


def test_a_pretrained_model_tells_who_looks_alike(made, tmp_path):
    table, _, _ = made
    inputs = helper.make_tensor_value_info("images", TensorProto.UINT8, ["B", 1, 16, 16])
    outputs = helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["B", 16])
    nodes = [
        helper.make_node("Cast", ["images"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x"], ["pooled"], axes=[1, 3], keepdims=0),  # the rows' mean grey levels
    ]
    graph = helper.make_graph(nodes, "g", [inputs], [outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    config = ModelConfig({}, (), 16, 1, files={"model.onnx": sha256(tmp_path / "model.onnx")})
    (tmp_path / "config.json").write_text(config.to_json())
    means = load_images(table, channels=1, size=16)[0].mean((1, 3))
    features, there = of_model(str(tmp_path)).describe(table)
    np.testing.assert_allclose(features, means, rtol=1e-5)
    assert there.all() and nearest(table, np.array([3]), np.arange(NUM), of_model(str(tmp_path)), count=2).min() >= 0


def test_a_classifier_gives_no_features():
    with pytest.raises(WeightsError, match="gives logits, no features"):
        of_model("default")


# ---------------------------------------------------------------------- what does not fit


def test_what_does_not_belong_together_is_refused_or_said(made, tmp_path, read_page):
    table, predictions, found = made
    page = tmp_path / "page.html"
    for wrong, why in (
        (found.set_column(0, "sample", pa.array([f"x{row}" for row in range(NUM)])), "none of its faces is there"),
        (found.set_column(1, "label", pa.array(["joy"] * NUM)), "its label 'joy' is no class there"),
        (found.slice(0, 0), "no face has a score"),
        (found.set_column(3, "score", pa.array([float("nan")] * NUM)), "no face has a score"),
    ):
        with pytest.raises(TableError, match=why):
            write_report(page, table, wrong)
    assert not page.exists()
    other = [table.classes[3]] * 90
    smaller = table.take(np.arange(90)).with_column("label", other)
    changed = sum(one != table.classes[3] for one in found["label"].to_pylist()[:90])
    seen = replace(predictions.of(table.samples[:80]), recipe={"data": {"fold": None, "splits": {"train": "train"}}})
    _, notes = write_report(page, smaller, found, predictions=seen, most=2)
    html, _ = read_page(page)
    for note, says in zip(
        notes,
        (
            "30 of 120 audited faces are not in the table any more",
            f"{changed} labels are not what column label says now",
            "80 of 80 faces are in split train, on which the model was trained: do not trust",
            "10 audited faces are not in the predictions",
        ),
        strict=True,
    ):
        assert says in note and says in html


def test_the_command_writes_a_page_once_and_names_what_is_wrong_in_a_sentence(made, run, tmp_path, capsys):
    table, predictions, found = made
    files = [str(tmp_path / name) for name in ("faces.parquet", "audit.parquet", "predictions.parquet", "page.html")]
    table.write(files[0])
    pq.write_table(found, files[1])
    predictions.write(files[2])
    tokens = ["audit", "report", files[0], files[1], "--predictions", files[2], "--out", files[3], "--most", "3"]
    assert cli.main([*tokens, "--weights", str(run), "--pictures", "blurred"]) == 0
    assert capsys.readouterr().out == f"wrote {files[3]}: 3 faces\n"
    assert cli.main(tokens) == 2 and "exists" in capsys.readouterr().err
    tokens += ["--overwrite"]
    stored = pq.read_table(files[2])
    first = f"prob_{table.classes[0]}"
    halved = stored.set_column(stored.schema.get_field_index(first), first, pa.array(np.full(NUM, 0.9, np.float32)))
    pq.write_table(halved.replace_schema_metadata(stored.schema.metadata), files[2])
    assert cli.main(tokens) == 3 and "sum to" in capsys.readouterr().err
    fewer = Predictions(tuple(table.samples), np.full((NUM, 2), 0.5, np.float32), table.classes[:2])
    fewer.write(files[2], overwrite=True)
    assert cli.main(tokens) == 3 and "the model does not know" in capsys.readouterr().err
    assert cli.main([*tokens[:3], files[0], *tokens[4:]]) == 3 and "Expected FOLDER/audit.parquet" in capsys.readouterr().err
