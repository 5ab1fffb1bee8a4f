"""Models by name: the default one, a folder, or a repository of the Hugging Face Hub that was pulled into a cache."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

from mien.errors import MienError, RecipeError, WeightsError
from mien.files import cache_folder, whole_file
from mien.predict.model_folder import ModelConfig, check_file, read_config

DEFAULT_FOLDER = Path(__file__).parents[1] / "weights"

# The files of a model folder, which alone travel, and the most bytes of each: one ONNX file, a protobuf message, can hold
# 2 GiB (protobuf's encoding guide); 1 MiB of text is not stated; ours.
FILES = {"config.json": 1 << 20, "README.md": 1 << 20, "model.onnx": 2 << 30, "model.safetensors": 2 << 30}
_WEIGHTS = {"model.onnx", "model.safetensors"}

_NAME = re.compile(r"([a-z0-9][\w.-]*/[a-z0-9][\w.-]*)(?:@([^@\s]+))?", re.ASCII | re.IGNORECASE)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def resolve_model(model: str | Path) -> Path:
    """Returns the model folder that a name stands for; nothing is downloaded.

    Args:
        model: "default", a model folder, a run that has finished one, or `OWNER/NAME` or `OWNER/NAME@REVISION` of a pulled
            model. A folder that exists wins over a name on the Hub, but not over "default".

    Raises:
        WeightsError: If there is none.
    """
    name = model if isinstance(model, str) else model.as_posix()
    if name == "default":
        if not (DEFAULT_FOLDER / "config.json").is_file():
            raise WeightsError("model default: this version of mien has none of its own. Name a model folder with --model.")
        return DEFAULT_FOLDER
    folder = Path(name)
    if folder.is_dir():
        return folder / "model" if (folder / "model" / "config.json").is_file() else folder
    if not _NAME.fullmatch(name):
        raise WeightsError(
            f"model {name}: there is no such folder. Expected a model folder, a run that has finished, default, or OWNER/NAME."
        )
    found = _cached(name)
    if found is None:
        raise WeightsError(f"model {name}: no such folder, and no model that was pulled. From the Hub: mien models pull {name}")
    return found


def check_model(folder: Path) -> ModelConfig:
    """Returns the config of a model folder whose weights all have the hashes that it states.

    Raises:
        WeightsError: If it is no model folder, or a file is missing or another one.
    """
    config = read_config(folder)
    stated = set(config.files) if isinstance(config.files, dict) else set()
    if not stated or not stated <= _WEIGHTS:
        raise WeightsError(
            f"model {folder}: config.json has hashes of {', '.join(sorted(stated)) or 'no file'}. "
            f"Expected {' and '.join(sorted(_WEIGHTS))}, or one of them. Copy the folder again."
        )
    for name in sorted(_WEIGHTS):
        if name in stated or (folder / name).exists():
            check_file(folder, config, name)
    return config


def pull(name: str, *, offline: bool = False) -> Path:
    """Returns the folder of a model of the Hub, downloaded into the cache unless it is there whole.

    Args:
        name: `OWNER/NAME`, or `OWNER/NAME@REVISION` with a branch, tag or full commit; without one, branch main.
        offline: Look into the cache alone.

    Raises:
        RecipeError: If it is no such name.
        WeightsError: If the Hub does not give it, a file is too large or has another hash than its config states, or it was
            made by a newer mien; the cache is then as it was.
    """
    repository, revision = parse_name(name)
    if offline:
        found = _cached(name)
        if found is None:
            raise WeightsError(f"model {name}: it has not been pulled. Without --offline it is downloaded.")
        check_model(found)
        return found
    with client(name) as hub:
        about = hub.HfApi().model_info(repository, revision=revision, files_metadata=True)
    for file in about.siblings or ():
        limit = FILES.get(file.rfilename)
        if limit is not None and (file.size or 0) > limit:
            raise WeightsError(
                f"model {name}: {file.rfilename} has {file.size:,} bytes, expected at most {limit:,}. Nothing was downloaded."
            )
    commit: str = about.sha or ""
    if not _COMMIT.fullmatch(commit):
        raise WeightsError(f"model {name}: the Hub names its commit {commit!r}. Expected 40 hexadecimal digits.")
    folder = models_folder() / repository / commit
    if not _is_whole(folder):
        _download(name, repository, commit, folder)
    if revision != commit:
        with whole_file(folder.parent / "refs.json") as partial:
            partial.write_text(json.dumps(read_refs(repository) | {revision: commit}, indent=1) + "\n")
    return folder


def models_folder() -> Path:
    """Returns where pulled models lie, as OWNER/NAME/COMMIT."""
    return cache_folder() / "models"


def read_refs(repository: str) -> dict[str, str]:
    """Returns the commits that branches and tags stood for when they were pulled."""
    path = models_folder() / repository / "refs.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def parse_name(name: str) -> tuple[str, str]:
    """Returns OWNER/NAME and the revision, main where a name has none.

    Raises:
        RecipeError: If it is no such name.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise RecipeError(f"model {name}: this is no name on the Hub. Expected OWNER/NAME or OWNER/NAME@REVISION.")
    return found[1], found[2] or "main"


def _cached(name: str) -> Path | None:
    repository, revision = parse_name(name)
    commit = revision if _COMMIT.fullmatch(revision) else read_refs(repository).get(revision)
    folder = models_folder() / repository / commit if commit else None
    return folder if folder and folder.is_dir() else None


def _is_whole(folder: Path) -> bool:
    try:
        check_model(folder)
    except WeightsError:
        return False
    return True


def _download(name: str, repository: str, commit: str, folder: Path) -> None:
    """Downloads beside the cache's models, the config first, and puts the folder in its place once it has been checked."""
    models_folder().mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=models_folder(), prefix=".pull-") as beside:
        new = Path(beside) / "model"
        try:
            for wanted, check in ((["config.json"], read_config), (list(FILES), check_model)):
                with client(name) as hub:
                    hub.snapshot_download(
                        repository, revision=commit, allow_patterns=wanted, local_dir=new, cache_dir=Path(beside) / "cache"
                    )
                check(new)
        except WeightsError as error:
            raise WeightsError(f"{str(error).replace(str(new), name)} The download was discarded.") from None
        shutil.rmtree(new / ".cache", ignore_errors=True)  # the library's notes on the download
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():  # damaged
            folder.replace(Path(beside) / "old")
        new.replace(folder)


@contextmanager
def client(name: str) -> Iterator[ModuleType]:
    """Yields huggingface_hub; its errors become one sentence about the model."""
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # read when it is imported
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield huggingface_hub
    except MienError:
        raise
    except GatedRepoError as error:
        raise WeightsError(f"model {name}: accept its terms on its page on the Hub, then log in with: hf auth login") from error
    except RepositoryNotFoundError as error:
        raise WeightsError(
            f"model {name}: the Hub has none of this name, or a private one. Log in for those with: hf auth login"
        ) from error
    except RevisionNotFoundError as error:
        raise WeightsError(f"model {name}: the Hub has no such revision. Expected a branch, tag or full commit.") from error
    except Exception as error:  # its versions stand on three HTTP libraries with trees of errors of their own
        what = str(error).strip().partition("\n")[0]
        raise WeightsError(
            f"model {name}: this failed at the Hub ({type(error).__name__}: {what}). "
            "Check the connection, and for what is not public log in with: hf auth login"
        ) from error
