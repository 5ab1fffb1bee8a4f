"""Commands for clusters: the file that Slurm takes."""

from __future__ import annotations

from pathlib import Path

from mien.cli.app import Overrides, Splits, app
from mien.cli.sbatch import Resources


@app.command
def slurm(
    what: list[Path],
    *,
    out: Path,
    model: str = "default",
    split: Splits = "report",
    override: Overrides = None,
    resources: Resources | None = None,
) -> None:
    """An sbatch file for a training, a suite or a prediction, on stdout.

    mien slurm recipes/paper/maskfeat.yaml --nodes 2 --gpus 4 --out runs/maskfeat | sbatch
    mien slurm packed --jobs 64 --out answers | sbatch

    Args:
        what: A recipe, trained by torchrun; a suite, whose runs are shared out; pictures or a table, for a model to answer.
        out: The run, the suite's folder, or the folder of answers, which mien evaluate and others take as it is.
        model: Prediction: model folder, OWNER/NAME of a pulled one, or default.
        split: Prediction: which faces of a table.
        override: Any value of the recipe or of all recipes of the suite, such as --train.precision bf16-mixed.
        resources: What Slurm gives.
    """
    import re

    from mien.cli import sbatch
    from mien.data.table import is_table
    from mien.errors import RecipeError
    from mien.recipe import Recipe

    given = resources or Resources()
    pairs = dict(pair.split("=", 1) for pair in override or ())
    extra = [token for key, value in pairs.items() for token in (f"--{key}", value)]
    if what[0].suffix not in (".yaml", ".yml"):
        if pairs:
            raise RecipeError(f"slurm {what[0]}: --{next(iter(pairs))} is for recipes and suites, not for a prediction.")
        options = ["--model", model, *(["--split", split] if is_table(what[0]) else [])]
        text = sbatch.prediction(list(map(str, what)), str(out), options, given)
    elif len(what) > 1:
        raise RecipeError("slurm: expected one recipe or suite; print a file for each.")
    elif what[0].is_file() and re.search(r"^arms:", what[0].read_text(), re.MULTILINE):
        text = sbatch.suite(str(what[0]), str(out), extra, given)
    else:
        Recipe.read(what[0], pairs)  # what is wrong with it is said now, not by a job in the night
        text = sbatch.training(str(what[0]), str(out), extra, given)
    print(text, end="")
