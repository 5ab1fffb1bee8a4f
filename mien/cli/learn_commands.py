"""Commands that train: the demonstration, one recipe, a suite of them, and the probe of what was learned."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mien.cli.app import Overrides, app, print_json, refuse_existing, wrote
from mien.errors import RecipeError

Trackers = tuple[Literal["tensorboard", "mlflow", "wandb"], ...]


@app.command
def demo(*, out: Path = Path("demo"), faces: int = 4000, open: bool = False) -> None:
    """The whole line on drawn faces: no data, no download; ends with a report.

    mien demo --faces 1000 --out demo

    Args:
        out: Folder for everything it makes.
        faces: Number of faces to draw.
        open: Show the report in a browser.
    """
    from mien.demo import demo

    report = demo(out, faces)
    if open:
        import webbrowser

        webbrowser.open(report.absolute().as_uri())
    wrote(report)


@app.command
def train(
    recipe: Path,
    *,
    out: Path,
    override: Overrides = None,
    resume: bool = False,
    dry_run: bool = False,
    overwrite: bool = False,
    track: Trackers = (),
) -> None:
    """Pre-training, partial-label and supervised methods alike.

    mien train recipes/partial/revision.yaml --data.table ferplus.parquet --train.seed 1 --out runs/revision

    Args:
        recipe: A recipe, as in recipes/.
        out: Folder of the run.
        override: Any value of the recipe, such as --train.epochs 3.
        resume: Go on where the run stopped.
        dry_run: Print the resolved recipe, counts, parameters, memory and time, and stop.
        overwrite: Replace the run if it exists.
        track: Send the run's numbers there too, as they come; may be repeated.
    """
    from mien.learn.track import check_trackers
    from mien.learn.train import train
    from mien.log import is_first_process

    check_trackers(track)
    overrides = dict(pair.split("=", 1) for pair in override or ())
    train(recipe, overrides, out, resume=resume, dry_run=dry_run, overwrite=overwrite, track=track)
    if not dry_run and is_first_process():
        wrote(out)
        if (page := out / "report" / "report.html").is_file():
            print(f"how good it is: {page}")


@app.command
def export(
    model: str,
    *,
    out: Path,
    half: bool = False,
    int8: Path | None = None,
    licence: str | None = None,
    trust_code: bool = False,
    overwrite: bool = False,
) -> None:
    """A model folder written anew, to be passed on: safetensors and ONNX, which must agree.

    mien export runs/revision --half --out my_model

    Args:
        model: Model folder, finished run, default, or OWNER/NAME of a pulled one.
        out: The new folder.
        half: Store weights as float16: half the size, and as good as the same answers.
        int8: ONNX in 8-bit integers, a third of the time: fitted to this table's calibrate, measured on its report.
        licence: Terms of the data, where the model states none because its table did not.
        trust_code: Import the module:Class that the model may name.
        overwrite: Replace the folder's files.
    """
    from mien.learn.export import export_model

    refuse_existing(out, overwrite)
    if int8 is not None:
        from mien.data.table import SampleTable
        from mien.learn.quantise import export_int8

        found = export_int8(model, out, SampleTable.read(int8), half=half, licence=licence)
        wrote(out, f"in 8-bit integers, which keep {(found.parity or {})['same_answers']:.1%} of the answers")
        return
    config = export_model(model, out, half=half, licence=licence, trust_code=trust_code)
    parity = config.parity or {}
    wrote(out, f"largest difference between torch and ONNX {parity['difference']:.1g}, largest value {parity['largest']:.3g}")


@app.command
def probe(
    model: str,
    *,
    data: Path,
    root: Path | None = None,
    label: str = "label",
    untrained: bool = False,
    device: str = "cpu",
    trust_code: bool = False,
    json: bool = False,
) -> None:
    """Is the representation any good: nearest neighbours and a linear probe on frozen features.

    Fitted on train, regularised by select, judged on report.

    mien probe runs/pretrain --data ferplus.parquet

    Args:
        model: Model folder or start, with a head or without; default, or OWNER/NAME of a pulled one.
        data: Table with labels.
        root: Folder of the images, where they moved.
        label: Column that counts as the truth.
        untrained: Probe the same architecture with random weights, for comparison.
        device: Where the features are computed, such as cuda.
        trust_code: Import the module:Class that the model may name.
        json: Print everything as JSON.
    """
    from mien.data.table import SampleTable
    from mien.learn.probe import probe, show
    from mien.log import results

    result = probe(
        model, SampleTable.read(data, root=root), label=label, untrained=untrained, device=device, trust_code=trust_code
    )
    print_json(result) if json else show(result, results())


@app.command
def compare(
    what: list[Path],
    *,
    out: Path | None = None,
    data: Path | None = None,
    baseline: str | None = None,
    label: str = "label",
    override: Overrides = None,
    budget: float | None = None,
    draws: int = 1,
    dry_run: bool = False,
    track: Trackers = (),
    json: bool = False,
) -> None:
    """Many methods on the same faces: a suite that is trained first, or files of predictions that are there already.

    A suite goes on where it stood. Start it once for each core or GPU: every process takes the next run that no other holds.

    mien compare recipes/suites/first_evidence.yaml --out runs/first_evidence
    mien compare a.parquet b.parquet --baseline a --data ferplus.parquet

    Args:
        what: A suite (SUITE.yaml), or two or more files of predictions; files NAME-s0, NAME-s1 … are the seeds of one method.
        out: Suite: folder of its runs, predictions and tables.
        data: Predictions: table with labels and votes.
        baseline: Predictions: the method that all others are compared with; without it that of the first file.
        label: Predictions: column that counts as the truth.
        override: Suite: any value of all its recipes, such as --train.precision bf16-mixed.
        budget: Suite: epochs, in place of its own, which counts once for each draw.
        draws: Suite: runs for each method and seed, all but one with values drawn from its ranges; the best on select counts.
        dry_run: Suite: list its runs in order of worth, and stop.
        track: Suite: send the numbers of all runs there too, as they come; may be repeated.
        json: Print everything as JSON.
    """
    if what[0].suffix in (".yaml", ".yml"):
        from mien.learn.suite import run_suite, show_plan
        from mien.learn.track import check_trackers

        if out is None or len(what) > 1:
            raise RecipeError("compare: expected one suite and --out FOLDER.")
        if draws < 1:
            raise RecipeError(f"compare: draws is {draws}. Expected 1 or more.")
        check_trackers(track)
        overrides = dict(pair.split("=", 1) for pair in override or ())
        if dry_run:
            show_plan(what[0], out, overrides, budget=budget, draws=draws)
            return
        run_suite(what[0], out, overrides, budget=budget, draws=draws, track=track)
        print((out / "report.json" if json else out / "report.md").read_text(), end="")
        wrote(out / "report.html")
        return
    from mien.data.table import SampleTable
    from mien.evaluate.comparison import tables, to_markdown
    from mien.evaluate.paired import compare, read_arms

    if data is None or len(what) < 2:
        raise RecipeError("compare: expected a suite with --out, or two or more files of predictions with --data TABLE.")
    arms = read_arms(what)
    found = compare(arms, SampleTable.read(data), baseline or next(iter(arms)), label=label)
    print(found.to_json() if json else to_markdown(tables("Comparison", found)), end="\n" if json else "")
