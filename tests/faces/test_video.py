"""Films whose every frame has its own grey, written here: which frames come, when they are shown, what is refused."""

import importlib.util
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mien.errors import ImageError, RecipeError
from mien.faces.video import Film, Frame, is_film

if importlib.util.find_spec("av") is None:
    pytest.skip("[video] is not installed", allow_module_level=True)
import av

RATE = 25


def write(path: Path, frames: Sequence[np.ndarray], *, times_s: Sequence[float] | None = None, **options: str) -> Path:
    """Writes frames, one every 1 / RATE seconds or at times of their own, in a form that moves a grey by a few levels."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 1000)
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = round(1000 * (number / RATE if times_s is None else times_s[number]))
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def greys(count: int) -> list[np.ndarray]:
    """Frame k has the grey 4 · k."""
    return [np.full((48, 64, 3), 4 * number, np.uint8) for number in range(count)]


def noise(count: int) -> list[np.ndarray]:
    """Frames that cannot be packed small, so that half of a film's bytes are about half of its frames."""
    return list(np.random.default_rng(0).integers(0, 256, (count, 48, 64, 3), np.uint8))


def read(path: Path, **asked: float) -> list[Frame]:
    with Film(path) as film:
        return list(film.frames(**asked))


# ---------------------------------------------------------------------- which frames, and when


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts"])
def test_every_frame_comes_with_its_number_its_time_and_its_pixels(tmp_path: Path, suffix: str) -> None:
    frames = read(write(tmp_path / f"film.{suffix}", greys(30)))
    assert [frame.number for frame in frames] == list(range(30))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(30) / RATE, atol=0.001)
    assert {(frame.image.shape, frame.image.dtype) for frame in frames} == {((48, 64, 3), np.dtype(np.uint8))}
    np.testing.assert_allclose([frame.image.mean() for frame in frames], 4 * np.arange(30), atol=6)


def test_every_nth_frame_is_one_of_n(tmp_path: Path) -> None:
    assert [frame.number for frame in read(write(tmp_path / "film.mp4", greys(12)), every=5)] == [0, 5, 10]


def test_frames_a_second_are_counted_by_the_time_at_which_they_are_shown(tmp_path: Path) -> None:
    times_s = [0.0, 0.04, 0.08, 0.19, 0.2, 0.21, 0.9, 0.95, 1.0, 1.3]  # the camera slept twice
    frames = read(write(tmp_path / "film.mkv", greys(10), times_s=times_s), per_second=5)
    assert [frame.number for frame in frames] == [0, 4, 6, 8, 9]
    np.testing.assert_allclose([frame.time_s for frame in frames], [0.0, 0.2, 0.9, 1.0, 1.3], atol=0.001)


def test_more_frames_a_second_than_there_are_are_all(tmp_path: Path) -> None:
    assert len(read(write(tmp_path / "film.mp4", greys(10)), per_second=100)) == 10


@pytest.mark.parametrize("asked", [{"every": 4}, {"per_second": 7}])
def test_what_comes_later_does_not_depend_on_where_one_starts(tmp_path: Path, asked: dict) -> None:
    path = write(tmp_path / "film.mp4", greys(30))
    whole, rest = read(path, **asked), read(path, **asked, after=9)
    assert [frame[:2] for frame in rest] == [frame[:2] for frame in whole if frame.number > 9] and len(rest) > 3


@pytest.mark.parametrize("asked", [{"every": 0}, {"per_second": 0}, {"per_second": -1}, {"every": 2, "per_second": 2}])
def test_a_choice_that_is_none_is_refused(tmp_path: Path, asked: dict) -> None:
    with pytest.raises(RecipeError, match=r"Expected one of both"):
        read(write(tmp_path / "film.mp4", greys(2)), **asked)


def test_a_film_can_be_stopped(tmp_path: Path) -> None:
    with Film(write(tmp_path / "film.mp4", greys(30))) as film:
        numbers = []
        for frame in film.frames():
            numbers.append(frame.number)
            if frame.number == 3:
                film.stop()
        assert numbers[:4] == [0, 1, 2, 3] and len(numbers) < 30 and film.problem is None


# The file's matrix for each quarter that the picture is to be turned clockwise; ISO/IEC 14496-12, 8.3.2.
TURNS = {0: (1, 0, 0, 1), 1: (0, 1, -1, 0), 2: (-1, 0, 0, -1), 3: (0, -1, 1, 0)}


@pytest.mark.parametrize("quarters", TURNS)
def test_a_film_is_turned_as_its_file_says(tmp_path: Path, quarters: int) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[:16, :16] = 255  # upper left
    path = write(tmp_path / "film.mp4", [image] * 3)
    content = bytearray(path.read_bytes())
    a, b, c, d = (65536 * number for number in TURNS[quarters])
    struct.pack_into(">9i", content, content.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    (first, *_) = read(path)
    np.testing.assert_allclose(first.image, np.rot90(image, -quarters), atol=60)


# ---------------------------------------------------------------------- damage


def problem_of(path: Path) -> tuple[int, str | None]:
    """Returns how many frames a film gave, and what it said afterwards."""
    with Film(path) as film:
        return len(list(film.frames())), film.problem


@pytest.mark.parametrize(("suffix", "options"), [("mp4", {"movflags": "faststart"}), ("mkv", {}), ("avi", {})])
def test_a_film_that_was_cut_gives_what_is_there_and_says_so(tmp_path: Path, suffix: str, options: dict) -> None:
    path = write(tmp_path / f"film.{suffix}", noise(100), **options)
    assert problem_of(path) == (100, None)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    frames, problem = problem_of(path)
    assert 20 <= frames <= 70 and problem is not None and "of 4.0 s. Get a whole copy for the rest." in problem


def test_packets_that_are_damaged_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "film.mp4", noise(100), movflags="faststart")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 30_000] = bytes(30_000)
    path.write_bytes(content)
    frames, problem = problem_of(path)
    assert 50 < frames < 100 and problem == f"{path}: {100 - frames} of its packets are damaged and were left out. " + (
        "Get a whole copy for these."
    )


def test_a_film_with_sound_that_goes_on_longer_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        picture, sound = container.add_stream("mpeg4", rate=RATE), container.add_stream("aac", rate=8000)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        for image in greys(5):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(picture.encode(None))
        say(container, sound, seconds=4)
    assert problem_of(path) == (5, None)


def say(container, sound, *, seconds: int) -> None:
    """Adds silence."""
    for number in range(seconds * 8):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.float32), format="fltp", layout="mono")
        frame.rate, frame.pts = 8000, 1000 * number
        container.mux(sound.encode(frame))
    container.mux(sound.encode(None))


# ---------------------------------------------------------------------- what is no film


def no_film(path: Path, what: str) -> None:
    if what == "only sound":
        with av.open(str(path), "w") as container:
            say(container, container.add_stream("aac", rate=8000), seconds=1)
    elif what == "cut before its index":
        write(path, noise(20))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif what != "missing":
        path.write_bytes(b"no film at all" if what == "text" else b"")


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("only sound", "no video in it"),
        ("cut before its index", "or one cut before its index"),
        ("text", "not a film that can be read"),
        ("empty", "not a film that can be read"),
        ("missing", "no such file"),
    ],
)
def test_what_is_no_film_is_refused_in_a_sentence(tmp_path: Path, what: str, why: str) -> None:
    no_film(tmp_path / "film.mp4", what)
    with pytest.raises(ImageError) as error:
        Film(tmp_path / "film.mp4")
    assert why in str(error.value) and str(error.value).startswith(f"{tmp_path / 'film.mp4'}: ")
    assert "\n" not in str(error.value) and len(str(error.value)) < 250


def test_the_picture_on_a_record_s_cover_is_no_film(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=8000)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic.value
        container.mux(cover.encode(av.VideoFrame.from_ndarray(greys(1)[0], format="rgb24")))
        say(container, sound, seconds=1)
    with pytest.raises(ImageError, match="no video in it"):
        Film(path)


def test_a_camera_that_is_not_there_is_refused_in_a_sentence() -> None:
    with pytest.raises(ImageError, match=r"^camera:97: no camera answers there"):
        Film("camera:97")


def test_a_film_is_known_by_its_name() -> None:
    assert all(map(is_film, ("a.mp4", "b/c.MOV", "camera:0", Path("camera:1"))))
    assert not any(map(is_film, ("a.png", "camera", "films", "mp4", "table.parquet")))
