"""Page: a report, and the run it came from, as one HTML file that needs nothing else."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import yaml

from mien.data.images import face_png
from mien.data.table import SampleTable
from mien.errors import RunError
from mien.evaluate.label_weights import label_files, read_label_weights
from mien.evaluate.number import METRICS
from mien.evaluate.report import Report, number_text
from mien.page import Bar, Card, Chart, Mark, line_chart, write_html
from mien.predict.predictions import Predictions

SETTLED = 0.9  # ours: the largest label weight from which a face counts as settled
RULED_OUT = 0.1  # ours: the label weight under which a candidate is struck through
NUM_CARDS = 18  # ours: faces shown in each gallery
PICTURE_SIZE = 72  # ours: pixels; enough to see an expression, little enough for many faces
FIRST_CURVES = ("loss", "vote_accuracy", "accuracy")  # the others follow by name
SIDE_BY_SIDE = (("vote_accuracy", "select"), ("vote_accuracy", "report"), ("accuracy", "select"), ("accuracy", "report"))
SHARE_WORDS = ("accuracy", "share", "coverage", "recall")  # metrics whose name has one of these are shares

Line = list[tuple[float, float]]  # (epoch, value), epoch rising


def write_page(
    path: Path | str,
    report: Report,
    *,
    run: Path | str | None = None,
    beside: Sequence[Path | str] = (),
    table: SampleTable | None = None,
    faces: bool = False,
) -> None:
    """Writes the report as one self-contained HTML file, whole or not at all.

    Args:
        path: The file; its folder is made where it is missing, and an older page is replaced.
        report: The numbers.
        run: A run's folder: curves, label weights, recipe and environment are read from it where they exist.
        beside: Further runs, whose accuracy by epoch is drawn beside that of `run`.
        table: The run's table, for votes and candidate sets of single faces.
        faces: Whether pictures of faces go into the file. On real data this is for the reader's own disk.

    Raises:
        RunError: If there are runs to draw beside each other and one has no curves.
    """
    run = Path(run) if run is not None else None
    recipe = _read_recipe(run)
    write_html(
        path,
        Path(__file__).with_name("report.html.j2"),
        report=report,
        metrics=METRICS,
        number_text=number_text,
        recall_bars=_recall_bars(report),
        group_bars=_group_bars(report),
        confusion_shares=[[count / max(sum(row), 1) for count in row] for row in report.confusion],
        agreement_bars=_agreement_bars(report),
        reliability=_reliability(report),
        choice=(recipe or {}).get("choose"),
        curves=_curves(run),
        side_by_side=_side_by_side([run, *map(Path, beside)] if run and beside else []),
        settled=_settled(run, table),
        settled_from=f"{100 * SETTLED:.0f} %",
        ruled_out=f"{100 * RULED_OUT:.0f} %",
        label_cards=_label_cards(run, table, faces),
        prediction_cards=_prediction_cards(run, table, faces),
        recipe=yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True) if recipe else None,
        environment=_read_environment(run),
    )


# ---------------------------------------------------------------------- charts


def _recall_bars(report: Report) -> list[Bar]:
    return [
        Bar(one.name, one.recall.value, f"{one.count:,} faces", one.recall.low, one.recall.high) for one in report.per_class
    ]


def _group_bars(report: Report) -> list[Bar]:
    found = [(one, one.numbers["accuracy"]) for one in report.groups]
    return [Bar(one.name, number.value, f"{one.count:,} faces", number.low, number.high) for one, number in found]


def _agreement_bars(report: Report) -> list[Bar]:
    rows = {
        "accuracy_unanimous": "accuracy, unanimous",
        "accuracy_split": "accuracy, split",
        "vote_accuracy": "vote accuracy, all",
        "vote_accuracy_ceiling": "its ceiling",
    }
    found = {text: report.numbers[name] for name, text in rows.items()}
    return [Bar(text, number.value, f"{number.n:,} faces", number.low, number.high) for text, number in found.items()]


def _reliability(report: Report) -> Chart | None:
    lines = {
        f"against the {name}": [(one.confidence, one.share) for one in bins]
        for name, bins in report.reliability.items()
        if len(bins) > 1
    }
    return line_chart("Confidence and what came true", "confidence", lines, shares=True, unit_square=True) if lines else None


def _read_metrics(run: Path | None) -> dict[str, dict[str, Line]]:
    """Returns by metric and split the values of `metrics.jsonl`, the steps of an epoch averaged; two epochs or more."""
    if run is None or not (run / "metrics.jsonl").is_file():
        return {}
    values: dict[str, dict[str, dict[int, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for text in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(text)
        except json.JSONDecodeError:
            continue  # the last line of a run that is still going on, or was killed
        if math.isfinite(entry["value"]):
            split, _, metric = entry["name"].partition("/")
            values[metric][split][entry["epoch"]].append(entry["value"])
    return {
        metric: {
            split: [(float(epoch), float(np.mean(found))) for epoch, found in sorted(epochs.items())]
            for split, epochs in splits.items()
            if len(epochs) > 1
        }
        for metric, splits in values.items()
    }


def _curves(run: Path | None) -> list[Chart]:
    """Returns a chart for each metric of a run, with a line for each split."""
    values = _read_metrics(run)
    order = sorted(values, key=lambda name: (FIRST_CURVES.index(name) if name in FIRST_CURVES else len(FIRST_CURVES), name))
    return [_by_epoch(metric, metric.replace("_", " "), values[metric]) for metric in order if values[metric]]


def _side_by_side(runs: list[Path]) -> list[Chart]:
    """Returns a chart for each of `SIDE_BY_SIDE`, with a line for each run that has it."""
    times = Counter(run.name for run in runs)
    values = {run.name if times[run.name] == 1 else str(run): _read_metrics(run) for run in runs}
    for name, found in values.items():
        if not any(split in found.get(metric, {}) for metric, split in SIDE_BY_SIDE):
            raise RunError(f"run {name}: there are no accuracies by epoch. Expected a run of two epochs or more, as runs/NAME.")
    charts = []
    for metric, split in SIDE_BY_SIDE:
        lines = {name: found[metric][split] for name, found in values.items() if split in found.get(metric, {})}
        if lines:
            charts.append(_by_epoch(metric, f"{metric.replace('_', ' ')}, {split}", lines))
    return charts


def _by_epoch(metric: str, title: str, lines: dict[str, Line]) -> Chart:
    return line_chart(title, "epoch", lines, shares=any(word in metric for word in SHARE_WORDS))


def _settled(run: Path | None, table: SampleTable | None) -> Chart | None:
    """Returns the share of faces whose largest label weight is over `SETTLED`, by epoch."""
    files = label_files(run) if run is not None else []
    if len(files) < 2:
        return None
    ambiguous = _candidates(files, table).sum(1) > 1
    lines: dict[str, Line] = {"all faces": [], "faces with several candidates": []}
    for file in files:
        settled = read_label_weights(file).weights.max(1) > SETTLED
        epoch = float(file.stem.removeprefix("epoch_"))
        lines["all faces"].append((epoch, float(settled.mean())))
        if ambiguous.any():
            lines["faces with several candidates"].append((epoch, float(settled[ambiguous].mean())))
    return line_chart(
        "Faces whose label is settled", "epoch", {name: line for name, line in lines.items() if line}, shares=True
    )


# ---------------------------------------------------------------------- galleries


def _label_cards(run: Path | None, table: SampleTable | None, faces: bool) -> list[Card]:
    """Returns faces drawn at random from those with several candidates, with their label weights after the last epoch."""
    files = label_files(run) if run is not None else []
    if not files:
        return []
    column, names, weights = read_label_weights(files[-1])
    candidates = _candidates(files, table)
    samples = column.to_pylist()
    cards = []
    for row in _some(np.flatnonzero(candidates.sum(1) > 1)):
        votes = _votes_of(table, samples[row], names)
        marks = []
        for name, inside, weight, count in zip(names, candidates[row], weights[row], votes, strict=True):
            if inside or count:
                state = "other" if not inside else "out" if weight < RULED_OUT else "in"
                marks.append(Mark(name, count, float(weight), state))
        cards.append(_card(samples[row], table, faces, marks))
    return cards


def _prediction_cards(run: Path | None, table: SampleTable | None, faces: bool) -> list[Card]:
    """Returns faces drawn at random from the run's predictions on `report`, with votes and probabilities."""
    file = run / "predictions" / "report.parquet" if run is not None else None
    if file is None or not file.is_file() or table is None:
        return []
    predictions = Predictions.read(file)
    cards = []
    for row in _some(np.flatnonzero(predictions.answered)):
        sample = predictions.samples[row]
        votes = _votes_of(table, sample, predictions.classes)
        marks = []
        for place, (name, prob, count) in enumerate(zip(predictions.classes, predictions.probs[row], votes, strict=True)):
            chosen = place == predictions.positions[row]
            if chosen or count or prob >= RULED_OUT:
                marks.append(Mark(name, count, float(prob), "in" if chosen else "other"))
        cards.append(_card(sample, table, faces, marks))
    return cards


def _some(rows: np.ndarray) -> np.ndarray:
    """Returns at most `NUM_CARDS` of the rows, drawn without looking at them."""
    return np.sort(np.random.default_rng(0).permutation(rows)[:NUM_CARDS])


def _card(sample: str, table: SampleTable | None, faces: bool, marks: list[Mark]) -> Card:
    row = _row(table, sample)
    if table is None or row is None:
        return Card(sample, None, (), tuple(marks))
    labels = {name: table.columns[name][row].as_py() for name in table.columns.column_names if name.startswith("label")}
    facts = tuple((name.replace("_", " "), value) for name, value in labels.items() if value is not None)
    return Card(
        sample,
        face_png(table, row, size=PICTURE_SIZE) if faces else None,
        facts,
        tuple(sorted(marks, key=lambda mark: -(mark.share or 0))),
    )


def _row(table: SampleTable | None, sample: str) -> int | None:
    row = pc.index(table.columns["sample"], sample).as_py() if table is not None else -1
    return None if row < 0 else int(row)


def _votes_of(table: SampleTable | None, sample: str, names: tuple[str, ...]) -> list[int | None]:
    """Returns the votes for each of `names`, null where the table does not tell."""
    row = _row(table, sample)
    if table is None or row is None or "votes" not in table:
        return [None] * len(names)
    counts = dict(zip(table.vote_names, table.columns["votes"][row].as_py() or [], strict=False))
    return [counts.get(name) for name in names]


# ---------------------------------------------------------------------- reading a run


def _candidates(files: list[Path], table: SampleTable | None) -> np.ndarray:
    """Returns (N, K) candidate sets: the table's, or else the classes that have weight after the first epoch."""
    samples, names, weights = read_label_weights(files[0])
    if table is not None and "candidates" in table and set(names) == set(table.classes):
        rows = pc.index_in(samples, value_set=table.columns["sample"])
        if not rows.null_count and (sets := table.candidates) is not None:
            return sets[np.asarray(rows, np.int64)][:, [table.classes.index(name) for name in names]]
    return weights > 0


def _read_recipe(run: Path | None) -> Any:
    file = run / "recipe.yaml" if run is not None else None
    return yaml.safe_load(file.read_text(encoding="utf-8")) if file is not None and file.is_file() else None


def _read_environment(run: Path | None) -> str | None:
    file = run / "environment.json" if run is not None else None
    if file is None or not file.is_file():
        return None
    return json.dumps(json.loads(file.read_text(encoding="utf-8")), indent=1, ensure_ascii=False)
