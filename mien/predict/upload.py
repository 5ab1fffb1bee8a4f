"""A model folder to the Hugging Face Hub: its own files alone, and only after its terms were read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from mien.errors import RecipeError, WeightsError
from mien.predict.hub import check_model, client, parse_name, resolve_model
from mien.predict.model_folder import ModelConfig

MAX_ENTRIES = 64  # of a list in config.json's data; more may be faces, not classes or votes; not stated; ours


def push(model: str | Path, name: str, *, accept_licence: str | None, public: bool = False) -> str:
    """Uploads the files of a model folder to the Hub, and nothing else; returns the address of the commit.

    Args:
        model: What `resolve_model` takes.
        name: `OWNER/NAME`; made where it does not exist.
        accept_licence: The terms of the data, as config.json states them, from somebody who has read them and may pass the
            model on under them.
        public: Whether all may see it.

    Raises:
        RecipeError: If the name or the terms are others, or the repository is not as public as it should be.
        WeightsError: If the model states no terms, is damaged or lists faces, or the Hub refuses it.
    """
    if parse_name(name) != (name, "main"):
        raise RecipeError(f"push: {name} names a revision. Expected OWNER/NAME; the model goes to its main branch.")
    folder = resolve_model(model)
    config = check_model(folder)
    _check_licence(folder, config, accept_licence)
    _check_counts(folder, config.data, "data")
    if not (folder / "README.md").is_file():
        raise WeightsError(f"model {folder}: README.md, its card, is missing. Copy the folder again.")
    with client(name) as hub:
        api = hub.HfApi()
        api.create_repo(name, private=not public, exist_ok=True)
        private = api.model_info(name).private
        if private == public:
            raise RecipeError(
                f"push: {name} is there already and is {'private' if private else 'public'}. "
                f"Push {'without' if private else 'with'} --public, or change that on its page. Nothing was uploaded."
            )
        contents: dict[str, Path | bytes] = {file: folder / file for file in ("config.json", *sorted(config.files or ()))}
        contents["README.md"] = _card(folder, config).encode()
        operations = [hub.CommitOperationAdd(path_in_repo=file, path_or_fileobj=content) for file, content in contents.items()]
        return str(api.create_commit(name, operations, commit_message="Model folder of mien").commit_url)


def _check_licence(folder: Path, config: ModelConfig, accepted: str | None) -> None:
    """Raises where a model has no terms, or where nobody has said that they were read."""
    if not (config.licence or "").strip():
        raise WeightsError(
            f"model {folder}: config.json states no licence of the data, so it is not known whether the model may be passed "
            "on. State it when the table is imported (--licence), and train from that; or with mien export --licence."
        )
    if accepted != config.licence:
        raise RecipeError(
            f"push: the terms of the data bind the model: “{config.licence}”. Nothing was uploaded. "
            "If they let you pass it on, push with --licence-checked."
        )


def _check_counts(folder: Path, value: Any, where: str) -> None:
    """Raises where what the config says of the data is more than counts and names of classes."""
    if not isinstance(value, dict | list):
        return
    if where == "data.samples" or len(value) > MAX_ENTRIES:
        raise WeightsError(
            f"model {folder}: config.json's {where} has {len(value):,} entries, expected counts and up to {MAX_ENTRIES} names. "
            "Lists of faces are not passed on: take it out."
        )
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        _check_counts(folder, part, f"{where}.{key}")


def _card(folder: Path, config: ModelConfig) -> str:
    """Returns the card with the front matter that the Hub reads, in place of any that it has."""
    about = {
        "library_name": "mien",
        "license": "other",  # the terms of the data, in words that are none of the Hub's identifiers
        "license_name": "terms-of-the-training-data",
        "pipeline_tag": "image-classification" if config.classes else "image-feature-extraction",
        "tags": ["facial-expression-recognition", "perceived-expression"],
    }
    text = re.sub(r"\A---\n.*?\n---\n+", "", (folder / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    return f"---\n{yaml.safe_dump(about)}---\n\n{text}"
