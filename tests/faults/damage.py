"""Damage: bytes of a file are changed, and what reads it must notice or see the same; run in a worker, lest a crash end all."""

import collections
import json
import random
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mien.errors import MienError


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Returns the bytes with a bit turned, eight replaced, some taken out, or the end cut off."""
    changed, place = bytearray(content), draw.randrange(len(content))
    how = draw.randrange(4)
    if how == 0:
        changed[place] ^= 1 << draw.randrange(8)
    elif how == 1:
        changed[place : place + 8] = draw.randbytes(8)
    elif how == 2:
        del changed[place : place + draw.randint(1, 64)]
    else:
        del changed[place:]
    return bytes(changed)


def judge(path: str, kind: str, seed: str, count: str) -> None:
    """Prints how often reading a damaged file gave the same, was refused, or gave something else; stops at a traceback."""
    file, read = Path(path), READERS[kind]
    content, draw = file.read_bytes(), random.Random(int(seed))
    expected, found = read(file), collections.Counter(same=0, refused=0, other=0)
    for _ in range(int(count)):
        bad = damaged(content, draw)
        file.write_bytes(bad)
        try:
            found["same" if read(file) == expected else "other"] += 1
        except MienError as error:
            assert "\n" not in str(error), error
            found["refused"] += 1
        except Exception:
            file.with_name("bad").write_bytes(bad)
            traceback.print_exc()
            break
    file.write_bytes(content)
    print(json.dumps(found))


def table(path: Path) -> Any:
    """Returns all that a table holds."""
    from mien.data.table import SampleTable

    one = SampleTable.read(path)
    about = (one.classes, one.vote_names, one.root, one.label_rule, one.source, one.licence, one.how, one.geometry)
    return one.columns.to_pylist(), about


def predictions(path: Path) -> Any:
    """Returns all that predictions hold."""
    from mien.predict.predictions import Predictions

    one = Predictions.read(path)
    return one.to_arrow().to_pydict() | {"probs": one.probs.tobytes(), "about": (one.classes, one.model, one.recipe)}


def packed(path: Path) -> Any:
    """Returns what is known of the folder of packed pictures that a file is in, and the pictures."""
    from mien.data import places
    from mien.data.images import MAX_BYTES
    from mien.data.manifest import Manifest
    from mien.data.table import SampleTable

    places._starts.cache_clear()  # by the time of the last change, which is the same for two that follow close
    places._group.cache_clear()
    one = SampleTable.read(path.parent)
    pictures = [places.read_picture(one.image_path(row), MAX_BYTES) for row in range(len(one))]
    return Manifest.read(path.parent), pictures


def checkpoint(path: Path) -> Any:
    """Returns all that a checkpoint holds."""
    from mien.learn import checkpoint

    return plain(checkpoint.load(path))


def plain(value: Any) -> Any:
    """Returns nested mappings and lists of tensors with bytes for the tensors."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return (str(value.dtype), tuple(value.shape), value.numpy().tobytes()) if hasattr(value, "numpy") else value


def model(path: Path) -> Any:
    """Returns the weights and the config of the model folder that a file is in."""
    from mien.learn.export import read_weights

    weights, config = read_weights(path.parent)
    return plain(dict(weights)), config


def run(path: Path) -> Any:
    """Returns that a run can go on: its recipe, its list of samples and its log are its own."""
    from mien.learn import checkpoint
    from mien.learn.run import Run
    from mien.recipe import Recipe

    one, kept = Run(path.parent), path.parent / "kept"
    one.check_recipe(Recipe.read(kept / "recipe.yaml"))
    one.check_samples(json.loads((kept / "data.json").read_text()))
    state = checkpoint.load(one.checkpoint)
    one.forget_after(state["step"])
    one.check_log(state["logged"])
    return True


READERS: dict[str, Callable[[Path], Any]] = {
    "faces.parquet": table,
    "packed/images-00000.parquet": packed,
    "packed/manifest.json": packed,
    "run/predictions/select.parquet": predictions,
    "run/checkpoints/last.pt": checkpoint,
    "run/model/model.safetensors": model,
    "run/model/config.json": model,
    "run/recipe.yaml": run,
    "run/data.json": run,
    "run/metrics.jsonl": run,
}
