"""Which models are at hand, and what each says of itself."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.errors import WeightsError
from mien.predict.hub import DEFAULT_FOLDER, FILES, check_model, models_folder, read_refs, resolve_model
from mien.predict.model_folder import read_config

if TYPE_CHECKING:
    from rich.console import Console


def list_models() -> list[dict[str, Any]]:
    """Returns one row a model at hand: the default one, then those that were pulled, as values that JSON can hold.

    Keys: `name`; `revision`, its commit, and `refs`, the branches and tags that stood for it when it was pulled; `classes`,
    `source`, `licence`; `mb`; `folder`; `problem`, a sentence where its config cannot be read, else null.
    """
    rows = [_row("default", DEFAULT_FOLDER)] if (DEFAULT_FOLDER / "config.json").is_file() else []
    for path in sorted(models_folder().glob("*/*/*/config.json")):
        folder = path.parent
        repository = f"{folder.parent.parent.name}/{folder.parent.name}"
        refs = sorted(ref for ref, commit in read_refs(repository).items() if commit == folder.name)
        rows.append(_row(repository, folder) | {"revision": folder.name, "refs": refs})
    return rows


def info(model: str | Path) -> dict[str, Any]:
    """Returns all that a model's config says, where it lies, and its files with sizes and checked hashes.

    Raises:
        WeightsError: If there is no such model, or a file is another one.
    """
    folder = resolve_model(model)
    config = check_model(folder)
    sizes = {name: _mb(folder / name) for name in FILES if (folder / name).is_file()}
    files = {name: {"mb": mb, "sha256": (config.files or {}).get(name)} for name, mb in sizes.items()}
    revision = folder.name if folder.parent.parent.parent == models_folder() else None
    return {"name": str(model), "folder": str(folder), "revision": revision, **asdict(config), "files": files}


def _mb(path: Path) -> float:
    return round(path.stat().st_size / 1e6, 3)


def _row(name: str, folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "revision": None, "refs": [], "classes": [], "source": None, "licence": None}
    row |= {"mb": round(sum(_mb(path) for path in folder.iterdir()), 3), "folder": str(folder), "problem": None}
    try:
        config = read_config(folder)
    except WeightsError as error:
        return row | {"problem": str(error)}
    return row | {"classes": list(config.classes), "source": config.source, "licence": config.licence}


def show_list(rows: list[dict[str, Any]], console: Console) -> None:
    """Prints what `list_models` returned."""
    from rich.table import Table

    if not rows:
        console.print("none; get one with: mien models pull OWNER/NAME", markup=False)
        return
    table = Table("model", "revision", "MB", "classes", "source", "licence of the data", box=None, pad_edge=False)
    for row in rows:
        revision = " ".join([*row["refs"], (row["revision"] or "")[:12]])
        classes = row["problem"] or ", ".join(row["classes"]) or "none: pre-trained"
        table.add_row(row["name"], revision, f"{row['mb']:.1f}", classes, row["source"], row["licence"] or "not stated")
    console.print(table, markup=False)


def show_info(facts: dict[str, Any], console: Console) -> None:
    """Prints what `info` returned, without the architecture."""
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in facts.items():
        if key in ("architecture", "files"):
            continue
        table.add_row(key.replace("_", " "), _in_words(value))
    for name, file in facts["files"].items():
        checked = f", SHA-256 {file['sha256'][:12]}… is right" if file["sha256"] else ""
        table.add_row(name, f"{file['mb']:.3f} MB{checked}")
    console.print(table, markup=False)


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key.replace('_', ' ')}: {_in_words(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_in_words(part) for part in value) or "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "not stated" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
