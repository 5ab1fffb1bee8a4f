import base64
import io
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mien.data.table import SampleTable
from mien.errors import RunError
from mien.evaluate import evaluate, write_page
from mien.predict.predictions import Predictions

CLASSES = ("calm", "glad", "sad")
SECTIONS = (
    "What was evaluated, and how it was chosen",
    "All numbers",
    "Recall of each class",
    "What is taken for what",
    "Where people agree, and where they differ",
    "Can the confidence be believed?",
    "Training, epoch by epoch",
    "Candidate sets, before and after disambiguation",
    "Some answers",
    "How to make it again",
)


def png(shade):
    file = io.BytesIO()
    Image.new("L", (20, 20), shade).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def made(tmp_path):
    """Returns report, run folder and table of sixty faces, thirty of them for training."""
    rng = np.random.default_rng(0)
    votes = rng.multinomial(10, [0.5, 0.3, 0.1, 0.1], 60)
    samples = [f"face_{i}" for i in range(60)]
    columns = {
        "sample": samples,
        "votes": votes,
        "label": [CLASSES[v[:3].argmax()] for v in votes],
        "split": ["train"] * 30 + ["report"] * 30,
        "image": [png(i) for i in range(59)] + [b"no picture"],
        "candidates": votes[:, :3] >= 2,
    }
    table = SampleTable.from_columns(
        columns, classes=CLASSES, vote_names=(*CLASSES, "unknown"), source="made <up>", licence="CC0"
    )
    predictions = Predictions(tuple(samples[30:]), rng.dirichlet(np.ones(3), 30).astype(np.float32), CLASSES, model="small")
    run = tmp_path / "run"
    predictions.write(run / "predictions" / "report.parquet")
    lines = [
        {"step": epoch, "epoch": epoch, "name": name, "value": 0.1 * epoch}
        for epoch in range(4)
        for name in ("train/loss", "select/vote_accuracy", "report/vote_accuracy")
    ]
    lines.append({"step": 4, "epoch": 4, "name": "train/loss", "value": float("nan")})
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 5, "ep')
    (run / "labels").mkdir()
    for epoch in range(3):
        weights = (votes[:30, :3] >= 2) * votes[:30, :3].astype(float) ** (epoch * 2)
        weights = (weights / weights.sum(1, keepdims=True)).astype(np.float16)
        names = {f"weight_{name}": weights[:, place] for place, name in enumerate(CLASSES)}
        pq.write_table(pa.table({"sample": samples[:30], **names}), run / "labels" / f"epoch_{epoch:04d}.parquet")
    (run / "recipe.yaml").write_text("objective: {name: proden}\nchoose: {by: vote_accuracy}\n")
    (run / "environment.json").write_text('{"numpy": "2.4"}')
    return evaluate(predictions, table, replicates=50), run, table


def test_a_full_run_gives_all_sections(made, tmp_path, read_page):
    report, run, table = made
    write_page(tmp_path / "new" / "page.html", report, run=run, table=table, faces=True)
    html, _ = read_page(tmp_path / "new" / "page.html")
    assert re.findall(r"<h2>(.*?)</h2>", html) == list(SECTIONS)
    assert "vote accuracy, on the select split" in html
    assert "made &lt;up&gt;" in html and "made <up>" not in html
    assert not (tmp_path / "new" / "page.html.partial").exists()


def test_without_a_run_the_page_holds_the_report_alone(made, tmp_path, read_page):
    write_page(tmp_path / "page.html", made[0])
    html, _ = read_page(tmp_path / "page.html")
    assert re.findall(r"<h2>(.*?)</h2>", html) == list(SECTIONS[:6])


def test_an_empty_run_folder_leaves_its_sections_out(made, tmp_path, read_page):
    (tmp_path / "empty").mkdir()
    write_page(tmp_path / "page.html", made[0], run=tmp_path / "empty", table=made[2])
    assert re.findall(r"<h2>(.*?)</h2>", read_page(tmp_path / "page.html")[0]) == list(SECTIONS[:6])


def test_the_page_holds_its_pictures(made, tmp_path, read_page):
    report, run, table = made
    write_page(tmp_path / "page.html", report, run=run, table=table, faces=True)
    _, tags = read_page(tmp_path / "page.html")
    sources = [attrs[key] for _, attrs in tags for key in ("src", "href") if key in attrs]
    assert sources and all(source.startswith("data:image/png;base64,") for source in sources)


def test_pictures_of_faces_are_in_the_page_only_where_asked_for(made, tmp_path, read_page):
    report, run, table = made
    write_page(tmp_path / "page.html", report, run=run, table=table)
    html, tags = read_page(tmp_path / "page.html")
    assert "img" not in {tag for tag, _ in tags} and "base64" not in html
    write_page(tmp_path / "page.html", report, run=run, table=table, faces=True)
    pictures = [attrs["src"].split(",")[1] for tag, attrs in read_page(tmp_path / "page.html")[1] if tag == "img"]
    assert Image.open(io.BytesIO(base64.b64decode(pictures[0]))).size == (72, 72)


def test_candidates_whose_weight_fell_are_struck_through(made, tmp_path, read_page):
    report, run, table = made
    write_page(tmp_path / "page.html", report, run=run, table=table)
    html, _ = read_page(tmp_path / "page.html")
    last = pq.read_table(run / "labels" / "epoch_0002.parquet")
    for card in re.findall(r'<article class="card">.*?</article>', html, re.S):
        sample = re.search(r"face_\d+", card)[0]
        if (row := last["sample"].to_pylist().index(sample) if sample in last["sample"].to_pylist() else None) is not None:
            inside = dict(zip(CLASSES, table.candidates[table.samples.index(sample)], strict=True))
            low = {name for name in CLASSES if inside[name] and last[f"weight_{name}"][row].as_py() < 0.1}
            assert set(re.findall(r"<s>(\w+)</s>", card)) == low
    assert "<s>" in html


def test_label_weights_without_a_table_still_show_candidates(made, tmp_path, read_page):
    write_page(tmp_path / "page.html", made[0], run=made[1])
    html, _ = read_page(tmp_path / "page.html")
    assert "<s>" in html and SECTIONS[7] in html and SECTIONS[8] not in html


def test_every_picture_and_table_can_be_read_aloud(made, tmp_path, read_page):
    report, run, table = made
    write_page(tmp_path / "page.html", report, run=run, table=table)
    html, tags = read_page(tmp_path / "page.html")
    for svg in re.findall(r"<svg.*?</svg>", html, re.S):
        assert 'aria-hidden="true"' in svg or ('role="img"' in svg and "<title>" in svg and "<desc>" in svg)
    for one in re.findall(r"<table.*?</table>", html, re.S):
        assert 'scope="col"' in one and 'scope="row"' in one
    assert "prefers-color-scheme: dark" in html and "@media print" in html and tags[0] == ("html", {"lang": "en"})


def test_a_report_without_labels_has_a_page_without_nan(made, tmp_path, read_page):
    _, run, table = made
    predictions = Predictions.read(run / "predictions" / "report.parquet")
    bare = SampleTable.from_columns({"sample": table.samples, "label": [None] * 60}, classes=CLASSES)
    write_page(tmp_path / "page.html", evaluate(predictions, bare, replicates=20))
    html, _ = read_page(tmp_path / "page.html")
    assert not re.search(r"\bnan\b", html, re.I) and "no faces with a label" in html
    assert SECTIONS[5] not in html


# ---------------------------------------------------------------------- several runs


def run_with(folder, **values):
    """A run whose metrics are lists of a value an epoch, named SPLIT_METRIC with a double underscore."""
    folder.mkdir(parents=True)
    lines = [
        {"step": epoch, "epoch": epoch, "name": name.replace("__", "/"), "value": value}
        for name, line in values.items()
        for epoch, value in enumerate(line)
    ]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def chart_of(html, title):
    found = re.search(rf"<figcaption><strong>{title}</strong>.*?</figure>", html, re.S)
    return found[0] if found else ""


def test_several_runs_are_drawn_in_one_chart_with_a_legend(made, tmp_path, read_page):
    report, run, table = made
    other = run_with(
        tmp_path / "proden", train__loss=[3, 2, 1], select__vote_accuracy=[0.1, 0.3, 0.5], report__accuracy=[0.2, 0.4]
    )
    write_page(tmp_path / "page.html", report, run=run, beside=[other], table=table)
    html, _ = read_page(tmp_path / "page.html")
    assert "<h2>Runs side by side</h2>" in html
    shared = chart_of(html, "vote accuracy, select")
    assert shared.count("<polyline") == 2
    assert re.findall(r'class="key [^"]*">(.*?)</span>', shared) == ["run 30 %", "proden 50 %"]
    alone = chart_of(html, "accuracy, report")
    assert re.findall(r'class="key [^"]*">(.*?)</span>', alone) == ["proden 40 %"]
    assert chart_of(html, "loss, train") == "", "losses of different methods are not compared"
    assert chart_of(html, "loss").count("<polyline") == 1, "the first run's own curves stay as they are"


def test_runs_of_one_name_are_told_apart(made, tmp_path, read_page):
    twins = [run_with(tmp_path / place / "seed_0", select__accuracy=[0.1, 0.2]) for place in ("a", "b")]
    write_page(tmp_path / "page.html", made[0], run=twins[0], beside=twins[1:])
    shared = chart_of(read_page(tmp_path / "page.html")[0], "accuracy, select")
    assert all(str(twin) in shared for twin in twins)


def test_nine_runs_have_nine_different_lines(made, tmp_path, read_page):
    runs = [run_with(tmp_path / f"run_{place}", select__accuracy=[0.1, place / 10]) for place in range(9)]
    write_page(tmp_path / "page.html", made[0], run=runs[0], beside=runs[1:])
    shared = chart_of(read_page(tmp_path / "page.html")[0], "accuracy, select")
    assert len(set(re.findall(r'<polyline class="(.*?)"', shared))) == 9


def test_a_run_without_curves_beside_others_is_refused(made, tmp_path):
    report, run, _ = made
    other = run_with(tmp_path / "short", select__accuracy=[0.5], train__loss=[2, 1])
    for wrong in (other, tmp_path / "nowhere"):
        with pytest.raises(RunError, match=rf"run {wrong.name}: there are no accuracies by epoch. Expected a run of"):
            write_page(tmp_path / "page.html", report, run=run, beside=[wrong])
    assert not (tmp_path / "page.html").exists()
