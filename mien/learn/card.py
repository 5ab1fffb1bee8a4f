"""The card of a model: what it is, how good it is on faces that it never saw, what it is not for, and whose terms bind it."""

from __future__ import annotations

import json
from typing import Any

from mien.evaluate.report import Report
from mien.predict.model_folder import ModelConfig

_LICENCE, _NONE = "- Licence of the data, which travels with the model: ", "not stated"


def card(config: ModelConfig, best: dict[str, Any], report: Report | None = None) -> str:
    """Returns the text of README.md.

    Args:
        config: What the model folder says.
        best: The epoch that was chosen, by what, from 0.
        report: How the model fares on the report split; null before it was asked, and where there is none.
    """
    parts = ["# A model of perceived facial expressions" if config.classes else "# A pre-trained encoder of faces"]
    if config.classes:
        parts.append("It estimates how people would describe the look of a face, not what a person feels.")
    else:
        parts.append("Trainings start from it; it has no classes, its output is a vector per face.")
    parts.append("\n".join(_facts(config, best)))
    if report is not None:
        parts += ["## How good it is", measured(report), "## Limits", _LIMITS]
    parts += ["## Architecture", f"```json\n{json.dumps(config.architecture)}\n```"]
    return "\n\n".join(parts) + "\n"


def _facts(config: ModelConfig, best: dict[str, Any]) -> list[str]:
    data = config.data or {}
    rule = f" (label rule: {data['label_rule']})" if config.classes and data.get("label_rule") else ""
    chosen = "the last" if best["by"] == "last" else f"by {best['by']} on the select split"
    level = f"; label sets aim to hold the answer of a random person in {config.level:.0%}" if config.level else ""
    return [
        f"- Classes: {', '.join(config.classes) or 'none'}",
        f"- Trained by: {config.objective}, on {data.get('num_samples'):,} faces of {config.source or 'a table'}{rule}",
        f"- Chosen: epoch {best['epoch'] + 1}, {chosen}",
        f"- Input: {config.image_size} × {config.image_size} pixels, {'grey' if config.channels == 1 else 'RGB'}, uint8",
        f"- Calibrated against: {config.calibrated_against or 'nothing'}{level}",
        f"{_LICENCE}{config.licence or _NONE}",
    ]


def with_licence(text: str, licence: str) -> str:
    """Returns a card that said nothing of the data's terms with these."""
    return text.replace(f"{_LICENCE}{_NONE}", f"{_LICENCE}{licence}")


def measured(report: Report) -> str:
    """Returns what the card says of a report."""
    return (
        "On the report split, which neither training, nor the choice of the epoch, nor calibration has seen. By the command "
        f"`mien evaluate MODEL --data TABLE.parquet`:\n\n{report.to_markdown().strip()}"
    )


_LIMITS = (
    "These numbers hold for faces like those of the table. Other cameras, ages, cultures and situations were not measured: "
    "measure there, by group where your data name groups (`mien evaluate --by COLUMN`). Rare classes rest on few faces; see "
    "the intervals. A probability is the share of people who would give that answer, as far as the calibration error says. "
    "Not for judging people, nor for emotion inference at work or in education; see RESPONSIBLE_USE.md of mien."
)
