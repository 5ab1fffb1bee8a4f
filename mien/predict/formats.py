"""The forms that predictions are handed over in: Parquet, CSV, JSON Lines, and deepface's dictionaries."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from mien.errors import RunError
from mien.files import cell, whole_file
from mien.predict.predictions import Predictions

FORMS = (".parquet", ".csv", ".jsonl")

# deepface's names of what it calls emotions; a class that it does not know keeps its own.
_DEEPFACE = {
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprise": "surprise",
    "neutral": "neutral",
}


def check_form(path: Path) -> None:
    """Raises RunError for a file name whose ending is none of `FORMS`."""
    if path.suffix not in FORMS:
        raise RunError(f"{path}: cannot tell the form by the ending {path.suffix or 'none'!r}. Expected {', '.join(FORMS)}.")


def write_predictions(parts: Iterable[Predictions], path: Path) -> None:
    """Writes predictions part by part, whole or not at all, in the form that the file's ending names.

    Raises:
        RunError: If the ending is none of `FORMS`.
    """
    check_form(path)
    with whole_file(path) as partial:
        if path.suffix == ".parquet":
            _write_parquet(parts, partial)
        elif path.suffix == ".csv":
            _write_csv(parts, partial)
        else:
            with partial.open("w", encoding="utf-8") as file:
                file.writelines(f"{text}\n" for part in parts if (text := part.to_json()))


def _write_parquet(parts: Iterable[Predictions], path: Path) -> None:
    writer = None
    for part in parts:
        table = part.to_stored()
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd", write_page_checksum=True)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def _write_csv(parts: Iterable[Predictions], path: Path) -> None:
    with path.open("wb") as file:
        for number, part in enumerate(parts):
            pyarrow.csv.write_csv(flat(part), file, pyarrow.csv.WriteOptions(include_header=number == 0))


def flat(predictions: Predictions) -> pa.Table:
    """Returns columns without lists, for spreadsheets: the label set as `a|b`, the box as four columns, each point as two."""
    table = predictions.to_arrow()
    columns: dict[str, Any] = {}
    for name in table.column_names:
        column = table[name]
        if name == "label_set":
            columns[name] = pc.binary_join(column, "|")
        elif name == "box":
            for place, side in enumerate(("left", "top", "right", "bottom")):
                columns[side] = pc.list_element(column, place)
        elif name == "points":
            for place, point in enumerate(("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")):
                for axis, letter in enumerate("xy"):
                    columns[f"{point}_{letter}"] = pc.list_element(pc.list_element(column, place), axis)
        elif name.startswith("prob_"):
            columns[name] = pc.if_else(pc.is_nan(column), None, column)
        else:
            columns[name] = column
        if name in columns and pa.types.is_string(columns[name].type):
            columns[name] = pa.array(map(cell, columns[name].to_pylist()), pa.string())
    return pa.table(columns)


def to_deepface(predictions: Predictions) -> list[dict[str, Any]]:
    """Returns for each answered face what `deepface.DeepFace.analyze(actions=["emotion"])` returns, for code that expects it.

    Percentages as there; `label_set` and `ambiguous` come on top. `region` is null without a box.
    """
    rows = []
    for row in predictions.to_arrow().to_pylist():
        if row["status"] != "ok":
            continue
        left, top, right, bottom = row.get("box") or [0, 0, 0, 0]
        names = {name: _DEEPFACE.get(name, name) for name in predictions.classes}
        region = {"x": round(left), "y": round(top), "w": round(right - left), "h": round(bottom - top)}
        if row.get("points"):
            region |= {"left_eye": row["points"][0], "right_eye": row["points"][1]}
        rows.append(
            {
                "emotion": {names[name]: 100 * row[f"prob_{name}"] for name in predictions.classes},
                "dominant_emotion": names[row["label"]],
                "region": region if row.get("box") else None,
                "face_confidence": row.get("score"),
                "label_set": [names[name] for name in row.get("label_set") or [row["label"]]],
                "ambiguous": row.get("ambiguous", False),
            }
        )
    return rows
