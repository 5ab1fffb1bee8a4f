import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mien.data.table import SampleTable
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


class Reader(HTMLParser):
    """Collects tags, and checks that they are closed in order."""

    EMPTY = frozenset({"meta", "img", "br", "line", "rect", "path", "circle", "polyline"})

    def __init__(self):
        super().__init__()
        self.open, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.EMPTY:
            assert self.open.pop() == tag


def read(path):
    html, reader = path.read_text(encoding="utf-8"), Reader()
    reader.feed(html)
    assert reader.open == []
    return html, reader.tags


def test_a_full_run_gives_all_sections(made, tmp_path):
    report, run, table = made
    write_page(tmp_path / "new" / "page.html", report, run=run, table=table, faces=True)
    html, _ = read(tmp_path / "new" / "page.html")
    assert re.findall(r"<h2>(.*?)</h2>", html) == list(SECTIONS)
    assert "vote accuracy, on the select split" in html
    assert "made &lt;up&gt;" in html and "made <up>" not in html
    assert not (tmp_path / "new" / "page.html.partial").exists()


def test_without_a_run_the_page_holds_the_report_alone(made, tmp_path):
    write_page(tmp_path / "page.html", made[0])
    html, _ = read(tmp_path / "page.html")
    assert re.findall(r"<h2>(.*?)</h2>", html) == list(SECTIONS[:6])


def test_an_empty_run_folder_leaves_its_sections_out(made, tmp_path):
    (tmp_path / "empty").mkdir()
    write_page(tmp_path / "page.html", made[0], run=tmp_path / "empty", table=made[2])
    assert re.findall(r"<h2>(.*?)</h2>", read(tmp_path / "page.html")[0]) == list(SECTIONS[:6])


def test_the_page_loads_nothing_from_outside(made, tmp_path):
    report, run, table = made
    write_page(tmp_path / "page.html", report, run=run, table=table, faces=True)
    html, tags = read(tmp_path / "page.html")
    assert "http://" not in html and "https://" not in html and "@import" not in html and "url(" not in html
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tags}
    sources = [attrs[key] for _, attrs in tags for key in ("src", "href") if key in attrs]
    assert sources and all(source.startswith("data:image/png;base64,") for source in sources)


def test_pictures_of_faces_are_in_the_page_only_where_asked_for(made, tmp_path):
    report, run, table = made
    write_page(tmp_path / "page.html", report, run=run, table=table)
    html, tags = read(tmp_path / "page.html")
    assert "img" not in {tag for tag, _ in tags} and "base64" not in html
    write_page(tmp_path / "page.html", report, run=run, table=table, faces=True)
    pictures = [attrs["src"].split(",")[1] for tag, attrs in read(tmp_path / "page.html")[1] if tag == "img"]
    assert Image.open(io.BytesIO(base64.b64decode(pictures[0]))).size == (72, 72)


def test_candidates_whose_weight_fell_are_struck_through(made, tmp_path):
    report, run, table = made
    write_page(tmp_path / "page.html", report, run=run, table=table)
    html, _ = read(tmp_path / "page.html")
    last = pq.read_table(run / "labels" / "epoch_0002.parquet")
    for card in re.findall(r'<article class="card">.*?</article>', html, re.S):
        sample = re.search(r"face_\d+", card)[0]
        if (row := last["sample"].to_pylist().index(sample) if sample in last["sample"].to_pylist() else None) is not None:
            inside = dict(zip(CLASSES, table.candidates[table.samples.index(sample)], strict=True))
            low = {name for name in CLASSES if inside[name] and last[f"weight_{name}"][row].as_py() < 0.1}
            assert set(re.findall(r"<s>(\w+)</s>", card)) == low
    assert "<s>" in html


def test_label_weights_without_a_table_still_show_candidates(made, tmp_path):
    write_page(tmp_path / "page.html", made[0], run=made[1])
    html, _ = read(tmp_path / "page.html")
    assert "<s>" in html and SECTIONS[7] in html and SECTIONS[8] not in html


def test_every_picture_and_table_can_be_read_aloud(made, tmp_path):
    report, run, table = made
    write_page(tmp_path / "page.html", report, run=run, table=table)
    html, tags = read(tmp_path / "page.html")
    for svg in re.findall(r"<svg.*?</svg>", html, re.S):
        assert 'aria-hidden="true"' in svg or ('role="img"' in svg and "<title>" in svg and "<desc>" in svg)
    for one in re.findall(r"<table.*?</table>", html, re.S):
        assert 'scope="col"' in one and 'scope="row"' in one
    assert "prefers-color-scheme: dark" in html and "@media print" in html and tags[0] == ("html", {"lang": "en"})


def test_a_report_without_labels_has_a_page_without_nan(made, tmp_path):
    _, run, table = made
    predictions = Predictions.read(run / "predictions" / "report.parquet")
    bare = SampleTable.from_columns({"sample": table.samples, "label": [None] * 60}, classes=CLASSES)
    write_page(tmp_path / "page.html", evaluate(predictions, bare, replicates=20))
    html, _ = read(tmp_path / "page.html")
    assert not re.search(r"\bnan\b", html, re.I) and "no faces with a label" in html
    assert SECTIONS[5] not in html
