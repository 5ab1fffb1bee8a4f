"""Films of drawn faces through a small model and a detector that looks for what is bright in either half of a frame."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mien import cli
from mien.data.readers.drawing import draw
from mien.errors import RunError
from mien.faces.detect import Detections
from mien.predict import video
from mien.predict.predictions import Predictions
from mien.predict.predictor import Predictor

if importlib.util.find_spec("av") is None:
    pytest.skip("[video] is not installed", allow_module_level=True)
import av

from mien.faces.video import Film

FRAMES, RATE, SIDE = 40, 25, 24
FACES = np.maximum(draw(np.eye(8)[[1, 2]], size=SIDE), 80)  # bright on black


class Halves:
    """Finds at most one face in either half of a frame, where it is bright."""

    def __init__(self, *, min_face: float = 40) -> None:
        self.seen: list[int] = []

    def detect(self, image: np.ndarray) -> Detections:
        self.seen.append(1)
        middle, boxes = image.shape[1] // 2, []
        for start in (0, middle):
            rows, columns = np.nonzero(image[:, start : start + middle].min(2) > 40)
            if len(rows):
                boxes.append((start + columns.min(), rows.min(), start + columns.max() + 1, rows.max() + 1))
        found = np.array(boxes, np.float32).reshape(-1, 4)
        return Detections(found, np.full(len(found), 0.9, np.float32), np.full((len(found), 5, 2), np.nan, np.float32))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of 1.6 seconds: a face walks down on the left, except in frames 10 to 14; another is on the right from 20 on."""
    path = tmp_path_factory.mktemp("films") / "film.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 96, 72, "yuv420p", 2_000_000
        for number in range(FRAMES):
            image = np.zeros((72, 96, 3), np.uint8)
            if not 10 <= number < 15:
                image[number : number + SIDE, 10 : 10 + SIDE] = FACES[0][..., None]
            if number >= 20:
                image[20 : 20 + SIDE, 60 : 60 + SIDE] = FACES[1][..., None]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def film(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The film, in the folder where commands are given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(video, "MTCNN", Halves)
    Path("film.mkv").write_bytes(whole.read_bytes())
    return Path("film.mkv")


def ask(film: Path, folder: Path, **asked: float) -> Predictions:
    with Film(film) as opened:
        return Predictions.join(list(video.answers(opened, Predictor.load(folder, detector=Halves()), **asked)))


def call(*tokens: object) -> int:
    return cli.main(["predict", *map(str, tokens)])


# ---------------------------------------------------------------------- what is answered


def test_there_is_a_row_for_each_face_of_each_frame_and_one_for_a_frame_without(film: Path, folder: Path) -> None:
    found = ask(film, folder, every=5)
    assert found.samples == (
        *("film.mkv:0#1", "film.mkv:5#1", "film.mkv:10", "film.mkv:15#1"),
        *(f"film.mkv:{frame}#{track}" for frame in (20, 25, 30, 35) for track in (1, 2)),
    )
    assert found.paths == tuple(sample.partition("#")[0] for sample in found.samples)
    assert found.own["track"].tolist() == [1, 1, 0, 1, 1, 2, 1, 2, 1, 2, 1, 2]
    np.testing.assert_allclose(found.own["time_s"], found.own["frame"] / RATE, atol=0.001)
    np.testing.assert_allclose(found.boxes[0], [10, 0, 34, 24], atol=1)
    assert found.status[2] == "no face" and set(found.status) == {"ok", "no face"}


def test_without_smoothing_a_frame_is_answered_as_a_photo_would_be(film: Path, folder: Path) -> None:
    with Film(film) as opened:
        frames = list(opened.frames(every=5))
    photos = Predictor.load(folder, detector=Halves()).predict([frame.image for frame in frames])
    found = ask(film, folder, every=5, smooth_s=0)
    np.testing.assert_array_equal(found.probs, photos.probs)
    np.testing.assert_array_equal(found.boxes, photos.boxes)
    np.testing.assert_array_equal(found.label_sets, photos.label_sets)
    assert (ask(film, folder, every=5).probs != found.probs).any()


def test_how_frames_are_batched_changes_nothing(film: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ask(film, folder, every=1)
    monkeypatch.setattr(video, "BATCH", 3)
    again = ask(film, folder, every=1)
    assert again.samples == found.samples
    np.testing.assert_allclose(again.probs, found.probs, atol=1e-6)


def test_five_frames_a_second_are_looked_at_where_nothing_is_asked(film: Path, folder: Path) -> None:
    assert np.unique(ask(film, folder).own["frame"]).tolist() == [0, 5, 10, 15, 20, 25, 30, 35]


def test_what_a_camera_sees_is_answered_frame_by_frame(film: Path, folder: Path) -> None:
    with Film(film) as opened:
        opened.is_camera = True
        parts = list(video.answers(opened, Predictor.load(folder, detector=Halves()), every=5))
    assert [np.unique(part.own["frame"]).tolist() for part in parts] == [[5 * place] for place in range(8)]


def test_order_is_kept_and_no_more_is_taken_than_threads_can_work_on() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while taken < 200:
            taken += 1
            yield taken

    for place, square in enumerate(video.in_order(lambda number: number**2, items(), threads=3), 1):
        assert square == place**2 and taken <= place + 3
    assert taken == 200


# ---------------------------------------------------------------------- what is written


def test_an_interrupted_film_goes_on_after_its_last_part_and_ends_the_same(
    film: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(video, "BATCH", 4)
    monkeypatch.setattr(video, "BATCHES_A_PART", 2)
    asked = (film, "--model", folder, "--every", 2)
    assert call(*asked, "--out", "whole.parquet") == 0
    follow, followed = video.Follower.follow, 0

    def stop_at_the_fourth(follower: video.Follower, found: Predictions) -> Predictions:
        nonlocal followed
        followed += 1
        if followed == 4:
            raise KeyboardInterrupt
        return follow(follower, found)

    with monkeypatch.context() as patch:
        patch.setattr(video.Follower, "follow", stop_at_the_fourth)
        assert call(*asked, "--out", "cut.parquet") == 130
    assert not Path("cut.parquet").exists() and len(list(Path("cut.parquet.parts").glob("*.parquet"))) == 1
    assert call(*asked, "--out", "cut.parquet") == 2
    assert call(*asked, "--out", "cut.parquet", "--resume", "--smooth", 1) == 2
    assert "was begun with another options" in capsys.readouterr().err
    looked: list[Halves] = []
    monkeypatch.setattr(video, "MTCNN", lambda **given: looked.append(Halves(**given)) or looked[-1])
    assert call(*asked, "--out", "cut.parquet", "--resume") == 0
    assert len(looked[0].seen) == FRAMES // 2 - 8
    assert Path("cut.parquet").read_bytes() == Path("whole.parquet").read_bytes()
    assert sorted(path.name for path in Path().iterdir() if path != Path("model")) == [
        "cut.parquet",
        "film.mkv",
        "whole.parquet",
    ]


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_time_frame_and_track_are_columns_of_the_file(
    film: Path, folder: Path, form: str, capsys: pytest.CaptureFixture
) -> None:
    assert call(film, "--model", folder, "--every", 10, "--out", f"out.{form}") == 0
    assert capsys.readouterr().out == f"wrote out.{form}: 5 faces\n"
    if form == "parquet":
        assert Predictions.read("out.parquet").own["track"].tolist() == [1, 0, 2, 3, 2, 3]
    elif form == "csv":
        header, first, *_ = Path("out.csv").read_text().splitlines()
        row = dict(zip(header.replace('"', "").split(","), first.replace('"', "").split(","), strict=True))
        assert (row["time_s"], row["frame"], row["track"]) == ("0", "0", "1")
    else:
        rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
        assert [(row["time_s"], row["frame"], row["track"]) for row in rows[:3]] == [(0, 0, 1), (0.4, 10, 0), (0.8, 20, 2)]


def test_the_annotated_film_has_all_frames_at_their_times_with_faces_framed(film: Path, folder: Path) -> None:
    assert call(film, "--model", folder, "--every", 5, "--annotate", "out.mp4") == 0
    with Film(film) as before, Film("out.mp4") as after:
        pairs = list(zip(before.frames(), after.frames(), strict=True))
    np.testing.assert_allclose([two.time_s for _, two in pairs], [one.time_s for one, _ in pairs], atol=0.001)
    change = np.array([np.abs(two.image.astype(int) - one.image).mean() for one, two in pairs])
    assert change[:10].min() > 2 * change[10:15].max() and change[15:].min() > 2 * change[10:15].max()
    assert sorted(path.name for path in Path().iterdir() if path.is_file()) == ["film.mkv", "out.mp4"]


def test_the_timeline_is_a_picture_of_the_tracks(film: Path, folder: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("matplotlib")
    from PIL import Image

    assert call(film, "--model", folder, "--every", 5, "--timeline", "out.png") == 0
    assert capsys.readouterr().out.endswith("wrote out.png\n")
    with Image.open("out.png") as picture:
        assert picture.size == (1200, 504)  # two strips


# ---------------------------------------------------------------------- the command


def test_faces_are_printed_with_their_time(film: Path, folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert call(film, "--model", folder, "--per-second", 2.5) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[:3]] == [
        ["0.00", "s", "film.mkv:0#1"],
        ["0.40", "s", "film.mkv:10"],
        ["0.80", "s", "film.mkv:20#2"],
    ]
    assert lines[1].endswith("no face") and "label set: " in lines[0]
    assert call(film, "--model", folder, "--per-second", 2.5, "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["frame"] == 0


def test_a_film_that_was_cut_is_answered_as_far_as_it_goes_and_the_exit_code_says_so(
    film: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("mien.faces.video.CUT_S", 0.2)
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    assert call(film, "--model", folder, "--out", "out.parquet") == 3
    shown = capsys.readouterr()
    assert len(Predictions.read("out.parquet")) >= 2
    assert shown.out.startswith("wrote out.parquet") and "mien: film.mkv: ends at " in shown.err and " of 1.6 s. " in shown.err


@pytest.mark.parametrize(
    ("tokens", "code", "why"),
    [
        (["film.mkv", "photo.png"], 2, "film.mkv: a film or camera goes by itself"),
        (["film.mkv", "--cropped"], 2, "without --cropped, --draw, --root, --device, --shard and --engine"),
        (["photo.png", "--every", "5"], 2, "are for films"),
        (["film.mkv", "--every", "5", "--per-second", "5"], 2, "Expected one of both"),
        (["film.mkv", "--smooth", "-1"], 2, "smoothing: -1.0 seconds"),
        (["film.mkv", "--annotate", "out.avi"], 2, "out.avi: the ending is '.avi'. Expected .mp4"),
        (["film.mkv", "--out", "out.txt"], 2, "out.txt: cannot tell the form"),
        (["nowhere.mp4"], 3, "nowhere.mp4: no such file"),
        (["camera:97"], 3, "camera:97: no camera answers there"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_sentence(
    film: Path, folder: Path, tokens: list[str], code: int, why: str, capsys: pytest.CaptureFixture
) -> None:
    before = sorted(Path().iterdir())
    assert call(*tokens, "--model", folder) == code
    shown = capsys.readouterr()
    assert shown.out == "" and why in shown.err and len(shown.err.splitlines()) == 1
    assert sorted(Path().iterdir()) == before


def test_nothing_is_overwritten_unasked(film: Path, folder: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("out.parquet", "out.mp4", "out.png"):
        Path(name).write_bytes(b"mine")
        option = {"parquet": "--out", "mp4": "--annotate", "png": "--timeline"}[name[4:]]
        assert call(film, "--model", folder, option, name) == 2
        assert f"{name} exists. Choose another name or pass --overwrite" in capsys.readouterr().err
        assert Path(name).read_bytes() == b"mine"


def test_a_film_is_never_replaced_by_its_annotated_copy(film: Path, folder: Path, capsys: pytest.CaptureFixture) -> None:
    before = film.read_bytes()
    mine = film.rename("film.mp4")
    assert call(mine, "--model", folder, "--annotate", mine, "--overwrite") == 2
    assert "is what is read here, and would be lost" in capsys.readouterr().err and mine.read_bytes() == before


def test_what_a_camera_sees_is_neither_annotated_nor_resumed(film: Path) -> None:
    with Film(film) as opened:
        opened.is_camera = True
        for asked in ({"annotated": Path("out.mp4")}, {"out": Path("out.parquet"), "resume": True}):
            with pytest.raises(RunError, match="what a camera sees is not kept"):
                list(video.predict_film(opened, **asked))


@pytest.mark.parametrize(("module", "extra"), [("av", "video"), ("matplotlib", "report")])
def test_an_extra_that_is_missing_is_named_in_one_line(
    film: Path, folder: Path, module: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert call(film, "--model", folder, "--timeline", "out.png") == 1
    shown = capsys.readouterr().err
    assert f'pip install "mien[{extra}]"' in shown and len(shown.splitlines()) == 1
