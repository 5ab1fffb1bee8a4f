"""Schema: what the API's description says about requests and answers, with an example of each."""

from __future__ import annotations

from typing import Any

from mien.predict.model_folder import ModelConfig
from mien.serve.upload import FIELD

REQUEST_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FIELD],
                "properties": {
                    FIELD: {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}},
                },
                "additionalProperties": False,
            },
            "encoding": {FIELD: {"contentType": "image/jpeg, image/png, image/webp, image/gif, image/bmp, image/tiff"}},
        }
    },
}


def _share(config: ModelConfig) -> list[float]:
    """Returns probabilities for an example: most of it for the first class."""
    rest = round(0.3 / max(len(config.classes) - 1, 1), 4)
    return [0.7, *[rest] * (len(config.classes) - 1)]


def answer(config: ModelConfig, name: str) -> dict[str, Any]:
    """Returns the description of what POST /v1/predict answers, with an example."""
    number, text = {"type": "number"}, {"type": "string"}
    known = {"enum": list(config.classes)}
    probs = {f"prob_{one}": {"type": ["number", "null"], "minimum": 0, "maximum": 1} for one in config.classes}
    point = {"type": "array", "items": number, "minItems": 2, "maxItems": 2}
    row = {
        "type": "object",
        "required": ["sample", "status", "label", *probs],
        "properties": {
            "sample": text,
            "path": text,
            "status": {"enum": ["ok", "no face", "broken"]},
            "problem": {"type": ["string", "null"]},
            "label": {"enum": [*config.classes, None], "description": "The most probable answer; null without one."},
            "ambiguous": {"type": "boolean", "description": "The label set holds more than one class."},
            "label_set": {"type": "array", "items": known, "description": "What cannot be ruled out at the model's level."},
            "box": {"type": ["array", "null"], "items": number, "description": "Left, top, right, bottom in upright pixels."},
            "tiny": {"type": "boolean"},
            "points": {"type": ["array", "null"], "items": point},
            "score": {"type": ["number", "null"], "description": "How sure the detector is of the face."},
            **probs,
        },
        "additionalProperties": False,
    }
    schema = {
        "type": "object",
        "required": ["model", "level", "predictions"],
        "properties": {
            "model": text,
            "level": {"type": ["number", "null"], "description": "Share of answers that label sets aim to hold."},
            "predictions": {"type": "array", "minItems": 1, "items": row},
        },
        "additionalProperties": False,
    }
    first = {
        "sample": "photo.jpg#1",
        "path": "photo.jpg",
        "status": "ok",
        "problem": None,
        "label": config.classes[0],
        "ambiguous": False,
        "label_set": [config.classes[0]],
        "box": [172.4, 58.8, 265.1, 179.4],
        "tiny": False,
        "points": [[203.1, 102.5], [245.9, 103.2], [224.0, 128.4], [204.1, 141.3], [242.7, 141.6]],
        "score": 0.999,
        **dict(zip(probs, _share(config), strict=True)),
    }
    example = {"model": name, "level": config.level, "predictions": [first]}
    about = "One row a face, as `mien predict --json` prints it; a picture without a face or that cannot be read has a row too."
    return {"description": about, "content": {"application/json": {"schema": schema, "example": example}}}


def models(facts: dict[str, Any]) -> dict[str, Any]:
    """Returns the description of what GET /v1/models answers, with the true answer as its example."""
    schema = {
        "type": "object",
        "required": ["models"],
        "properties": {"models": {"type": "array", "items": {"type": "object"}}},
    }
    return {"description": "The model that answers.", "content": {"application/json": {"schema": schema, "example": facts}}}
