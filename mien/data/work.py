"""Work on many rows: cut into parts, a share of them for each job of a scheduler, done here or by Ray's workers."""

from __future__ import annotations

import json
import logging
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from mien.errors import RecipeError, RunError, TableError
from mien.files import whole_file

Engine = Literal["here", "ray"]
Result = TypeVar("Result")

_PARTS_A_CORE = 2  # that wait at a worker, so that none is idle while results are written; not stated; ours
_RETRIES = 3  # of a part whose worker died: what kills every worker is to be seen, not repeated for ever; not stated; ours
_SHARD = re.compile(r"(\d+)-of-(\d+)\.parquet")


def each(work: Callable[[range], Result], parts: Sequence[range], engine: Engine = "here") -> Iterator[Result]:
    """Yields what `work` returns for each part, in their order.

    Args:
        work: What is done; on Ray it is sent to the workers once, with all that it holds, so it must not hold open files.
        parts: Ranges of rows.
        engine: "here", one after the other in this process; or "ray", on the cluster that RAY_ADDRESS or `ray start` names,
            else on one that is started on this machine's cores and stopped at the end. Parts of a worker that dies are done
            again by another.

    Raises:
        RunError: If a part's worker dies again and again.
    """
    return map(work, parts) if engine == "here" or not parts else _by_ray(work, parts)


def _by_ray(work: Callable[[range], Result], parts: Sequence[range]) -> Iterator[Result]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    import ray

    mine = not ray.is_initialized()
    if mine:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        task = ray.remote(max_retries=_RETRIES)(_call)
        shared = ray.put(work)
        most = _PARTS_A_CORE * max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting: deque[tuple[range, Any]] = deque()
        for rows in parts:
            waiting.append((rows, task.remote(shared, rows, os.getcwd())))
            if len(waiting) >= most:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())
    finally:
        if mine:
            ray.shutdown()


def _call(work: Callable[[range], Result], rows: range, folder: str) -> Result:
    if os.path.isdir(folder):  # so that relative paths mean there what they mean here
        os.chdir(folder)
    return work(rows)


def _result(rows: range, promise: Any) -> Any:
    import ray

    try:
        return ray.get(promise)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None  # as if it had happened here
    except ray.exceptions.WorkerCrashedError:
        raise RunError(
            f"ray: {_RETRIES + 1} workers died at rows {rows.start:,} to {rows.stop:,}, one after the other. Look for want of "
            "memory or a picture that breaks its decoder; what was done before is kept, go on with --resume."
        ) from None


def each_kept(
    work: Callable[[range], Result], parts: Sequence[range], folder: Path, engine: Engine = "here"
) -> Iterator[Result]:
    """Yields what `work` returns for each part, which JSON can hold: read from the folder if an earlier call left it there.

    What is made is written there before it is yielded.
    """
    paths = {rows: folder / f"{rows.start:09d}.json" for rows in parts}
    made = each(work, [rows for rows, path in paths.items() if not path.is_file()], engine)
    for path in paths.values():
        if not path.is_file():
            with whole_file(path) as partial:
                partial.write_text(json.dumps(next(made)), encoding="utf-8")
        yield json.loads(path.read_text(encoding="utf-8"))


def cut(total: int, size: int) -> list[range]:
    """Returns the rows of each part, `size` of them, fewer in the last."""
    return [range(start, min(start + size, total)) for start in range(0, total, size)]


def share(shard: str | None, total: int) -> range:
    """Returns which of `total` rows are a job's: the i-th of n equal pieces for `shard` "i/n", i from 1; all without one.

    Raises:
        RecipeError: If it is no such shard.
    """
    place, num = _parse(shard or "1/1")
    return range(total * (place - 1) // num, total * place // num)


def of_shard(out: Path, shard: str | None, suffix: str = "") -> Path:
    """Returns where a job writes: `OUT/i-of-n` and the suffix for `shard` "i/n"; `out` itself without one."""
    if shard is None:
        return out
    place, num = _parse(shard)
    return out / f"{place:0{len(str(num))}}-of-{num}{suffix}"


def _parse(shard: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", shard)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise RecipeError(f"shard {shard}: expected one of several, from 1/8 to 8/8.")
    return int(found[1]), int(found[2])


def is_sharded(folder: Path) -> bool:
    """Returns whether a path is a folder of files that jobs with a shard each have written."""
    return folder.is_dir() and any(_SHARD.fullmatch(path.name) for path in folder.iterdir())


def shard_files(folder: Path) -> list[Path]:
    """Returns the files of all shards in a folder, in their order.

    Raises:
        TableError: If there are none, if some are missing, or if they are of more than one number of shards.
    """
    found = {(int(match[2]), int(match[1])): path for path in folder.iterdir() if (match := _SHARD.fullmatch(path.name))}
    nums = sorted({num for num, _ in found})
    if len(nums) != 1:
        what = f"files of {' and of '.join(map(str, nums))} shards" if nums else "no file such as 1-of-8.parquet"
        raise TableError(f"{folder}: {what}. Expected those of one --shard i/n, each once.")
    lost = [place for place in range(1, nums[0] + 1) if (nums[0], place) not in found]
    if lost:
        first = ", ".join(map(str, lost[:5])) + (" …" if len(lost) > 5 else "")
        raise TableError(f"{folder}: {len(lost)} of {nums[0]} shards are not there ({first}). Run their jobs again.")
    return [found[key] for key in sorted(found)]


def open_folder(folder: Path, about: Mapping[str, Any], resume: bool) -> None:
    """Makes the folder in which the parts of a call lie, or checks that it is this call's, to be gone on with.

    Raises:
        RunError: If it is there and is not to be gone on with, or was begun with other arguments; the message names one.
    """
    mark, about = folder / "about.json", json.loads(json.dumps(about))  # as the file will have it
    if not folder.exists() or all(path.suffix == ".partial" for path in folder.iterdir()):  # or killed before it had a mark
        with whole_file(mark) as partial:
            partial.write_text(json.dumps(about))
        return
    if not resume:
        raise RunError(f"{folder} holds the parts of an interrupted call. Go on with --resume, or remove the folder.")
    known = json.loads(mark.read_text()) if mark.is_file() else {}
    for key in sorted(known.keys() | about.keys()):
        if known.get(key) != about.get(key):
            raise RunError(f"{folder} was begun with another {key}. Go on with the same, or remove the folder.")
