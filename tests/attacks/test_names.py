"""Names of files, classes, samples and annotators are shown as text: no page runs them, no spreadsheet computes them."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from mien.audit.export import export
from mien.audit.queue import label_studio_config, write_queue
from mien.candidates.describe import describe
from mien.candidates.page import write_page as write_candidates
from mien.data.readers import drawn
from mien.data.readers.row_files import read_rows
from mien.data.sheet import write_sheet
from mien.data.table import SampleTable
from mien.evaluate import evaluate, write_page
from mien.evaluate.comparison import TextTable, to_html
from mien.predict.formats import write_predictions
from mien.predict.predictions import Predictions

EVIL = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "'><svg onload=alert(3)>")
FORMULA = "=HYPERLINK(A1)"


@pytest.fixture
def table() -> SampleTable:
    votes = np.array([[5, 3, 2], [1, 8, 1], [0, 1, 9]] * 4)
    return SampleTable.from_columns(
        {
            "sample": [f"{name}{row}" for row, name in enumerate(EVIL * 4)],
            "image": drawn.read(faces=12).values("image"),
            "split": ["report"] * 12,
            "label": list(EVIL * 4),
            "votes": votes,
            "candidates": votes >= 2,
            "film": list(EVIL * 4),
        },
        classes=EVIL,
        vote_names=EVIL,
        source=EVIL[0],
        licence=EVIL[1],
    )


@pytest.fixture
def predictions(table: SampleTable) -> Predictions:
    probs = (table.votes / table.votes.sum(1, keepdims=True)).astype(np.float32)
    return Predictions(tuple(table.samples), probs, EVIL, probs > 0.2, model=EVIL[2])


@pytest.fixture
def read(read_page: Callable) -> Callable[[Path], None]:
    """Reads a page and sees that it has the names, and none of them as a tag or an attribute."""

    def check(path: Path) -> None:
        html, tags = read_page(path)  # well formed, and no script in it
        assert "&lt;script&gt;" in html
        assert not [name for tag, attributes in tags for name in attributes if name.startswith("on")]
        assert not [attributes for tag, attributes in tags if attributes.get("src", "data:")[:5] != "data:"]

    return check


def test_a_report_shows_names_as_text(table: SampleTable, predictions: Predictions, tmp_path: Path, read: Callable) -> None:
    run = tmp_path / "<b onclick=alert(4)>run"
    (run / "predictions").mkdir(parents=True)
    predictions.write(run / "predictions" / "report.parquet")
    weights = pa.table({"sample": table.samples, **{f"weight_{name}": np.full(12, 1 / 3, np.float32) for name in EVIL}})
    (run / "labels").mkdir()
    pq.write_table(weights, run / "labels" / "epoch_0000.parquet")
    (run / "recipe.yaml").write_text(f"name: {json.dumps(EVIL[0])}\n")
    (run / "environment.json").write_text(json.dumps({"mien": EVIL[1], "command": EVIL[0]}))
    report = evaluate(predictions, table, by="film")
    write_page(tmp_path / "page.html", report, run=run, table=table, faces=True)
    read(tmp_path / "page.html")


def test_a_sheet_and_the_candidates_page_show_names_as_text(table: SampleTable, tmp_path: Path, read: Callable) -> None:
    write_sheet(tmp_path / "sheet.html", table, num=4)
    read(tmp_path / "sheet.html")
    write_candidates(tmp_path / "page.html", describe(table), source=table.source)
    read(tmp_path / "page.html")


def test_a_comparison_shows_names_as_text(tmp_path: Path) -> None:
    text = to_html([TextTable(EVIL[0], EVIL, (EVIL,))], EVIL[1])
    assert "<script" not in text and "<svg" not in text and "<img" not in text


def test_label_studio_s_configuration_takes_class_names_as_text() -> None:
    assert "<script" not in label_studio_config(EVIL) and '"">' not in label_studio_config(EVIL)
    assert label_studio_config(("a & b", "c")).count("<Choice ") == 2 and "a &amp; b" in label_studio_config(("a & b", "c"))


# ---------------------------------------------------------------------- spreadsheets


def test_predictions_as_csv_hold_no_formula(tmp_path: Path) -> None:
    probs = np.array([[0.5, 0.5]], np.float32)
    one = Predictions((FORMULA,), probs, ("+calm", "glad"), probs > 0, paths=(FORMULA,), problems=("-1+1",))
    write_predictions([one], tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["sample"], row["path"], row["problem"], row["label"]) == (f"'{FORMULA}", f"'{FORMULA}", "'-1+1", "'+calm")
    assert row["label_set"] == "'+calm|glad"


@pytest.mark.parametrize("kind", ["csv", "cleanlab"])
def test_what_an_audit_exports_holds_no_formula(tmp_path: Path, kind: str) -> None:
    found = pa.table({"sample": [FORMULA], "label": ["@calm"], "suggested": ["\tglad"], "score": [-0.5]})
    export(found, tmp_path / "a.csv", kind=kind)
    with (tmp_path / "a.csv").open(newline="") as file:
        _, row = csv.reader(file)
    assert f"'{FORMULA}" in row and "'@calm" in row and "'\tglad" in row and "-0.5" in row


def test_a_queue_holds_no_formula_and_comes_back_with_the_same_names(tmp_path: Path, table: SampleTable) -> None:
    entry = {"place": 1, "sample": FORMULA, "picture": "-1+1.png", "score": -0.5}
    write_queue([entry], tmp_path / "q.csv", table)
    with (tmp_path / "q.csv").open(newline="") as file:
        _, row = csv.reader(file)
    assert row[1:4] == [f"'{FORMULA}", "'-1+1.png", "-0.5"]
    _, ((_, cells),), _ = read_rows(tmp_path / "q.csv")
    assert (cells["sample"], cells["picture"]) == (FORMULA, "-1+1.png")
