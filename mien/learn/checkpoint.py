"""Checkpoints: written whole or not at all, read without pickle's code."""

import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from mien.errors import RunError, WeightsError
from mien.files import raise_want_of_memory, whole_file


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes tensors, numbers, lists and mappings; an older file stays until the new one is complete.

    Raises:
        RunError: If it cannot be written, such as for want of room.
    """
    with whole_file(path) as partial:
        try:
            torch.save(state, partial)
        except RuntimeError as error:  # so torch says it
            raise RunError(
                f"checkpoint {path}: cannot be written ({str(error).splitlines()[0]}). Make room on the disk, then go on with "
                "--resume."
            ) from None
        with partial.open("rb") as file:
            os.fsync(file.fileno())


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Returns what `save` wrote.

    Raises:
        WeightsError: If the file is missing or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if (name := archive.testzip()) is not None:  # torch itself does not look at the checksums that it writes
                raise ValueError(f"{name} is damaged")
        return torch.load(path, map_location=device, weights_only=True)  # type: ignore[no-any-return]
    except FileNotFoundError:
        raise WeightsError(f"checkpoint {path}: no such file. Resume a run that has made one, or start it anew.") from None
    except Exception as error:  # a damaged file fails in whatever way its bytes ask for
        raise_want_of_memory(error)
        raise WeightsError(f"checkpoint {path}: cannot be read ({type(error).__name__}). Start the run anew.") from None
