"""The shell: what loads, what is refused and with which code, what goes to stdout, and what each command calls."""

import io
import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien import __version__, cli, methods
from mien.data.readers import drawn
from mien.data.table import SampleTable
from mien.errors import MienError, RecipeError, RunError, TableError, WeightsError
from mien.log import ready_streams
from mien.predict.predictions import Predictions


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def replace(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Puts one function in place of a module, so that a command can be seen to call it."""

    def put(module: str, name: str, function: Any) -> None:
        assert Path(methods.PACKAGE.parent, *module.split(".")).with_suffix(".py").is_file(), f"there is no {module}"
        stand_in = types.ModuleType(module)
        setattr(stand_in, name, function)
        monkeypatch.setitem(sys.modules, module, stand_in)

    return put


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "drawn.parquet"
    drawn.read(faces=60, seed=1).write(path)
    return path


def predictions_for(table: SampleTable) -> Predictions:
    """Always the class with most votes."""
    probs = np.eye(len(table.classes), dtype=np.float32)[table.class_votes.argmax(1)]
    return Predictions(tuple(table.samples), probs, table.classes)


# ---------------------------------------------------------------------- loading


@pytest.mark.parametrize("tokens", [["--help"], ["train", "--help"], ["data", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(tokens: list[str]) -> None:
    code = (
        "import sys; from mien.cli import main; code = main(sys.argv[1:]); sys.stdout.flush()\n"
        "heavy = {'torch', 'pyarrow', 'numpy', 'onnxruntime', 'pydantic', 'yaml', 'PIL', 'jinja2'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *tokens], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_help_lists_every_command_with_what_it_does(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in ("demo", "data", "candidates", "train", "probe", "predict", "evaluate", "methods", "doctor"):
        assert any(line.strip("│ ").startswith(f"{name} ") and len(line.split()) > 4 for line in shown.splitlines()), name


def test_version_is_the_package_s(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_python_m_mien_is_the_command(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "mien", "trian"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert 'Did you mean "train"?' in done.stderr


# ---------------------------------------------------------------------- overrides


def trained(replace: Callable, tokens: list[str]) -> tuple[int, list[tuple]]:
    calls: list[tuple] = []
    replace("mien.learn.train", "train", lambda *given, **named: calls.append((*given, named)))
    return cli.main(["train", *tokens]), calls


def test_a_recipe_s_values_are_given_by_dotted_flags(replace: Callable, capsys: pytest.CaptureFixture) -> None:
    tokens = ["recipe.yaml", "--objective.threshold", "0.4", "--train.epochs", "3", "--out", "runs/x"]
    code, calls = trained(replace, tokens)
    flags = {"resume": False, "dry_run": False, "overwrite": False, "track": ()}
    assert code == 0
    assert calls == [(Path("recipe.yaml"), {"objective.threshold": "0.4", "train.epochs": "3"}, Path("runs/x"), flags)]
    assert capsys.readouterr().out == f"wrote {Path('runs/x')}\n"


def test_a_training_says_where_its_report_is(replace: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    page = tmp_path / "report" / "report.html"
    page.parent.mkdir()
    page.touch()
    trained(replace, ["recipe.yaml", "--out", str(tmp_path)])
    assert capsys.readouterr().out == f"wrote {tmp_path}\nhow good it is: {page}\n"


@pytest.mark.parametrize(
    ("tokens", "overrides"),
    [
        (["--train.batch_size=64"], {"train.batch_size": "64"}),
        (["--optimizer.lr", "1e-3"], {"optimizer.lr": "1e-3"}),
        (["--optimizer.betas", "[0.9, 0.95]"], {"optimizer.betas": "[0.9, 0.95]"}),
        (["--model.head.layers", "3", "--views.weak.flip", "-0.5"], {"model.head.layers": "3", "views.weak.flip": "-0.5"}),
        (["--objective.name=mine:Mine=2"], {"objective.name": "mine:Mine=2"}),
        (["--start.encoder", ""], {"start.encoder": ""}),
        (["--start", "null", "--candidates=null"], {"start": "null", "candidates": "null"}),
        (["--train.seed", "1", "--train.seed", "2"], {"train.seed": "2"}),
    ],
)
def test_overrides_arrive_as_written_wherever_they_stand(replace: Callable, tokens: list[str], overrides: dict) -> None:
    for order in ([*tokens, "recipe.yaml", "--out", "x"], ["recipe.yaml", "--out", "x", "--resume", *tokens]):
        code, calls = trained(replace, order)
        assert (code, calls[0][:2]) == (0, (Path("recipe.yaml"), overrides))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["recipe.yaml", "--out", "x", "--rseume"], "Did you mean --resume?"),
        (["recipe.yaml", "--out", "x", "--epochs", "3"], "--epochs"),
        (["recipe.yaml", "--train.epochs", "3"], "--out"),
        (["recipe.yaml", "--train.epochs", "--out", "x"], "--train.epochs has no value"),
        (["recipe.yaml", "--out", "x", "--train.epochs"], "--train.epochs has no value"),
        (["recipe.yaml", "another.yaml", "--out", "x"], "another.yaml"),
    ],
)
def test_a_wrong_flag_is_refused(replace: Callable, tokens: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    code, calls = trained(replace, tokens)
    assert (code, calls) == (2, [])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_json_whatever_the_terminal_can_write(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
    text = "Jürgen, Łódź, 😀, a\udcfc"
    ready_streams()
    print(json.dumps(text, ensure_ascii=False), flush=True)
    assert json.loads(written.getvalue().decode(encoding)) == text


@pytest.mark.parametrize("name", ["[2024] trip", "[1]", '["a"]', "[/red]"])
def test_square_brackets_are_part_of_a_name(name: str, capsys: pytest.CaptureFixture) -> None:
    Path(name).mkdir(parents=True)
    assert cli.main(["predict", name]) == 3
    assert capsys.readouterr().err.startswith(f"mien: folder {name}: no pictures.")
    assert cli.main([name]) == 2
    assert capsys.readouterr().err.startswith(f'mien: Unknown command "{name}". Available')


def test_a_name_that_is_not_utf_8_is_refused_in_a_sentence(capsys: pytest.CaptureFixture) -> None:
    for name in ("happy", "sad"):
        Path("faces", name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(f"faces/{name}/J\udcfcrgen.png")
    assert cli.main(["data", "import", "folder", "faces", "--out", "faces.parquet"]) == 1
    shown = capsys.readouterr().err
    assert "J\\udcfcrgen" in shown and "not UTF-8" in shown and shown.count("\n") == 1
    assert cli.main(["predict", "faces", "--out", "found.csv"]) == 3
    assert "2 are not UTF-8, the first 'faces/happy/J\\udcfcrgen.png'" in capsys.readouterr().err
    assert {path.name for path in Path().iterdir()} == {"faces"}


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (["train", "a.yaml", "--out", "run", "--epochs", "2"], "--epochs. A recipe's key is --train.epochs.\n"),
        (["train", "a.yaml", "--out", "run", "--batch-size=2"], "--batch-size. A recipe's key is --train.batch_size.\n"),
        (["train", "a.yaml", "--out", "run", "--nonsense", "2"], "--nonsense.\n"),
        (["predict", "a.png", "--epochs", "2"], "--epochs.\n"),
    ],
)
def test_a_recipe_s_key_without_its_section_is_named_in_full(
    tokens: list[str], said: str, capsys: pytest.CaptureFixture
) -> None:
    assert cli.main(tokens) == 2
    assert capsys.readouterr().err == f"mien: Unknown option: {said}"


def test_a_dry_run_names_nothing_as_written(replace: Callable, capsys: pytest.CaptureFixture) -> None:
    code, calls = trained(replace, ["recipe.yaml", "--out", "x", "--dry-run"])
    assert (code, calls[0][-1]["dry_run"], capsys.readouterr().out) == (0, True, "")


# ---------------------------------------------------------------------- exit codes


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RecipeError("recipe a.yaml: no such file."), 2, "mien: recipe a.yaml: no such file.\n"),
        (RunError("run x exists."), 2, "mien: run x exists.\n"),
        (TableError("table t: no rows."), 3, "mien: table t: no rows.\n"),
        (WeightsError("model m: no such folder."), 3, "mien: model m: no such folder.\n"),
        (MienError("anything else."), 1, "mien: anything else.\n"),
        (KeyboardInterrupt(), 130, "mien: interrupted\n"),
        (
            ModuleNotFoundError("No module named 'timm'", name="timm.models"),
            1,
            'mien: this needs timm.models, which is not installed. Get it with: pip install "mien[train]"\n',
        ),
    ],
)
def test_each_failure_has_its_code_and_one_line(
    error: BaseException, code: int, message: str, replace: Callable, capsys: pytest.CaptureFixture
) -> None:
    def fail(*given: object, **named: object) -> None:
        raise error

    replace("mien.learn.train", "train", fail)
    assert cli.main(["train", "recipe.yaml", "--out", "x"]) == code
    assert capsys.readouterr() == ("", message)


def test_a_module_that_no_extra_brings_is_a_defect(replace: Callable) -> None:
    def fail(*given: object, **named: object) -> None:
        raise ModuleNotFoundError("No module named 'nowhere'", name="nowhere")

    replace("mien.learn.train", "train", fail)
    with pytest.raises(ModuleNotFoundError):
        cli.main(["train", "recipe.yaml", "--out", "x"])


# ---------------------------------------------------------------------- each command


def test_drawn_faces_go_from_import_to_candidate_sets(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["data", "import", "drawn", "--faces", "60", "--seed", "3", "--out", "a.parquet"]) == 0
    assert cli.main(["candidates", "votes", "a.parquet", "--at-least", "3", "--out", "b.parquet"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "wrote a.parquet: 60 faces\nwrote b.parquet: 60 faces\n"
    assert "step candidates, name votes, at_least 3, without 0\n" in shown.err
    made = SampleTable.read("b.parquet")
    votes = made.class_votes
    expected = ((votes >= 3) | (votes == votes.max(1, keepdims=True))) & (votes > 0)
    np.testing.assert_array_equal(made.candidates, expected)
    assert cli.main(["candidates", "describe", "b.parquet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 60


def test_describe_gives_json_alone_on_stdout_and_a_page(table: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["candidates", "votes", str(table), "--out", "b.parquet"]) == 0
    capsys.readouterr()
    tokens = ["candidates", "describe", "b.parquet", "--json", "--page", "sets.html"]
    assert cli.main(tokens) == 0
    shown = capsys.readouterr()
    assert (json.loads(shown.out)["rows"], shown.err) == (60, "wrote sets.html\n")
    assert "drawn faces</h1>" in Path("sets.html").read_text(encoding="utf-8")
    assert cli.main(tokens) == 2, "the page exists"


def test_show_puts_the_most_doubtful_faces_of_a_split_on_a_page(table: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["data", "import", "drawn", "--faces", "60", "--out", "a.parquet"]) == 0
    capsys.readouterr()
    tokens = ["data", "show", "a.parquet", "--out", "sheet.html", "--num", "5", "--doubtful"]
    assert cli.main([*tokens, "--split", "train", "--label", "neutral"]) == 0
    assert capsys.readouterr().out == "wrote sheet.html: 5 faces\n"
    assert Path("sheet.html").read_text(encoding="utf-8").count("data:image/png") == 5
    assert cli.main(tokens) == 2, "the page exists"
    assert cli.main([*tokens, "--overwrite", "--label", "netural"]) == 2
    assert "Did you mean neutral?" in capsys.readouterr().err


def test_nothing_is_overwritten_unasked(table: Path, capsys: pytest.CaptureFixture) -> None:
    Path("out.parquet").write_text("mine")
    for overwrite, code in (([], 3), (["--overwrite"], 0)):
        assert cli.main(["candidates", "votes", str(table), "--out", "out.parquet", *overwrite]) == code
    assert "exists" in capsys.readouterr().err
    assert len(SampleTable.read("out.parquet")) == 60


def test_ferplus_without_a_folder_is_refused(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["data", "import", "ferplus", "--out", "a.parquet"]) == 2
    assert "--root requires an argument" in capsys.readouterr().err
    assert cli.main(["data", "import", "ferplus", "--root", "nowhere", "--out", "a.parquet"]) == 3
    assert not Path("a.parquet").exists()


def test_one_s_own_faces_come_from_folders_and_tables_and_are_merged(capsys: pytest.CaptureFixture) -> None:
    for name in ("faces/happy/1.png", "faces/sad/1.png"):
        Path(name).parent.mkdir(parents=True)
        Image.new("L", (4, 4)).save(name)
    Path("votes.csv").write_text("file,happy,sad,unknown\nfaces/happy/1.png,8,1,1\n")
    importing = ["data", "import"]
    assert (
        cli.main([*importing, "folder", "faces", "--classes", "sad", "happy", "--licence", "mine", "--out", "a.parquet"]) == 0
    )
    tokens = [*importing, "table", "votes.csv", "--classes", "happy", "sad", "--other-answers", "unknown"]
    assert cli.main([*tokens, "--columns.path", "file", "--source", "Votes", "--out", "b.parquet"]) == 0
    assert cli.main(["data", "merge", "a.parquet", "b.parquet", "--prefix", "--out", "c.parquet"]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == "wrote c.parquet: 3 faces"
    assert "Give larger shares, such as --select 0.2 --calibrate 0.2, or a column split." in shown.err
    made = SampleTable.read("c.parquet")
    assert made.samples == ["a/happy/1", "a/sad/1", "b/faces/happy/1"]
    assert made.values("label").tolist() == ["happy", "sad", "happy"]
    assert (made.classes, made.vote_names) == (("sad", "happy"), ("sad", "happy", "unknown"))
    assert made.licence == "faces: mine; Votes: not stated"
    assert cli.main(["data", "check", "c.parquet"]) == 0
    assert "within a split" in capsys.readouterr().out


def test_a_bad_row_ends_an_import_without_a_table(capsys: pytest.CaptureFixture) -> None:
    Path("faces.csv").write_text("path,label\nnone.png,sad\n")
    assert cli.main(["data", "import", "table", "faces.csv", "--out", "a.parquet"]) == 3
    assert capsys.readouterr().err.startswith("mien: faces.csv, line 2: picture none.png is not in .")
    assert not Path("a.parquet").exists()


def test_a_check_s_json_is_json_alone_and_its_code_says_whether_all_is_there(
    table: Path, capsys: pytest.CaptureFixture
) -> None:
    assert cli.main(["data", "check", str(table), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 60
    broken = SampleTable.read(table)
    broken = broken.with_column("image", [b"no picture", *broken.values("image")[1:]])
    broken.write("broken.parquet")
    assert cli.main(["data", "check", "broken.parquet"]) == 3


def test_a_split_that_does_not_exist_is_refused(table: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["predict", str(table), "--model", "m", "--out", "p.parquet", "--split", "reprot"]) == 2
    assert "report" in capsys.readouterr().err


def test_evaluate_gives_json_alone_on_stdout_and_a_page(table: Path, capsys: pytest.CaptureFixture) -> None:
    rows = SampleTable.read(table)
    predictions_for(rows).write("p.parquet")
    tokens = ["evaluate", "p.parquet", "--data", str(table), "--label", "label_true", "--json", "--page", "page.html"]
    assert cli.main(tokens) == 0
    shown = capsys.readouterr()
    numbers = json.loads(shown.out)["numbers"]
    right = rows.class_votes.argmax(1) == rows.labels("label_true")
    assert numbers["accuracy"]["value"] == pytest.approx(right.mean())
    assert numbers["accuracy"]["n"] == 60
    assert shown.err == "wrote page.html\n"
    assert "</html>" in Path("page.html").read_text(encoding="utf-8")
    assert cli.main(tokens) == 2, "the page exists"


def test_evaluate_draws_several_runs_beside_each_other(table: Path) -> None:
    predictions_for(SampleTable.read(table)).write("p.parquet")
    for name in ("first", "second"):
        Path(name).mkdir()
        lines = [{"epoch": epoch, "name": "select/accuracy", "value": epoch / 2} for epoch in (0, 1)]
        Path(name, "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    tokens = ["evaluate", "p.parquet", "--data", str(table), "--label", "label_true", "--page", "page.html"]
    assert cli.main([*tokens, "--run", "first", "--run", "second"]) == 0
    html = Path("page.html").read_text(encoding="utf-8")
    assert "Runs side by side" in html and "second 50 %" in html


def test_evaluate_judges_one_split_of_the_predictions(table: Path, capsys: pytest.CaptureFixture) -> None:
    rows = SampleTable.read(table)
    predictions_for(rows).write("p.parquet")
    tokens = ["evaluate", "p.parquet", "--data", str(table), "--label", "label_true", "--json"]
    assert cli.main([*tokens, "--split", "report"]) == 0
    assert json.loads(capsys.readouterr().out)["numbers"]["coverage"]["n"] == len(rows.in_split("report")) < 60


class Answering:
    """A predictor that remembers which it is and which faces it was asked about."""

    asked: list[str]
    model: Path

    @classmethod
    def load(cls, model: Path) -> "Answering":
        Answering.model = model
        return cls()

    def predict(self, table: SampleTable, *, done: Callable[[int], None]) -> Predictions:
        Answering.asked = table.samples
        return predictions_for(table)


def test_evaluate_asks_a_model_about_the_report_split(table: Path, replace: Callable, capsys: pytest.CaptureFixture) -> None:
    replace("mien.predict.predictor", "Predictor", Answering)
    Path("model").mkdir()
    assert cli.main(["evaluate", "model", "--data", str(table), "--label", "label_true"]) == 0
    assert Answering.asked == SampleTable.read(table).in_split("report").samples
    assert "Vote accuracy" in capsys.readouterr().out
    assert cli.main(["evaluate", "default", "--data", str(table), "--label", "label_true"]) == 0
    assert Answering.model == Path("default")


def test_demo_ends_with_the_report(replace: Callable, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    replace("mien.demo", "demo", lambda out, faces: out / f"{faces}.html")
    assert cli.main(["demo", "--out", "here", "--faces", "500", "--open"]) == 0
    assert capsys.readouterr().out == f"wrote {Path('here/500.html')}\n"
    assert opened == [Path("here/500.html").absolute().as_uri()]


def test_methods_shows_the_shelf_one_method_and_one_s_own(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["methods", "--json"]) == 0
    assert [method["name"] for method in json.loads(capsys.readouterr().out)] == [method.name for method in methods.shelf()]
    assert cli.main(["methods", "proden"]) == 0
    assert "Lv et al." in capsys.readouterr().out
    Path("mine.py").write_text("class Mine(Objective):\n    '''Nothing at all.'''\n    learns_from = 'votes'\n")
    assert cli.main(["methods", "mine:Mine", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["summary"] == "Nothing at all."
    assert cli.main(["methods", "prodne"]) == 2
    assert "Did you mean proden?" in capsys.readouterr().err


def test_doctor_s_json_is_json_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr("mien.doctor._accelerators", lambda: None)
    assert cli.main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mien"] == __version__


@pytest.mark.parametrize("tokens", [["methods"], ["methods", "--json"]])
def test_a_reader_that_stops_reading_is_no_defect(tokens: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "mien", *tokens], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(("closed", "out", "err"), [(">&-", "", "known"), ("2>&-", "known", ""), (">&- 2>&- <&-", "", "")])
def test_a_closed_stream_leads_nowhere_not_into_another_or_a_file(closed: str, out: str, err: str) -> None:
    code = (
        "import os, sys; from mien.log import ready_streams, results, say; ready_streams()\n"
        "fd = os.open('file', os.O_CREAT | os.O_WRONLY); assert fd > 2\n"
        "results().print('known'); say('known'); sys.stdout.flush(); os.write(1, b''); os.write(2, b'')"
    )
    call = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, code]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr.strip(), Path("file").read_bytes()) == (0, out, err, b"")


@pytest.mark.parametrize("name", ["answers.csv", "faces.parquet", "nowhere.parquet"])
def test_answers_that_were_not_kept_are_refused_in_a_sentence(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    table = SampleTable.from_columns({"sample": ["a"], "path": ["a.png"], "label": ["x"]}, classes=("x", "y"), root=tmp_path)
    table.write(tmp_path / "faces.parquet")
    (tmp_path / "answers.csv").write_text("sample,annotator,answer\na,ann,x\n")
    assert cli.main(["audit", "annotators", str(tmp_path / "faces.parquet"), str(tmp_path / name)]) == 3
    assert "Expected the Parquet file that mien candidates answers writes with --keep" in capsys.readouterr().err
