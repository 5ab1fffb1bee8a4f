"""Every kind of picture that people hand over: read as it looks, or refused in a sentence."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien.data import images
from mien.data.images import decode, listed, open_upright, size_of
from mien.errors import ImageError

COLOUR = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8))
GREY = COLOUR.convert("L")
FILM = {"save_all": True, "append_images": [COLOUR.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]}


def stored(image: Image.Image, kind: str, **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def claim_of_size(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is large."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (b"", "an empty file"),
        (b"no picture at all", "not a picture in any format"),
        (stored(COLOUR, "JPEG")[:400], "not a readable picture"),
        (stored(COLOUR, "PNG")[:200], "not a readable picture"),
        (stored(COLOUR, "GIF", **FILM), "2 frames in one file. Expected one picture"),
        (stored(COLOUR, "PNG", **FILM), "2 frames in one file"),
        (stored(COLOUR, "WEBP", **FILM), "2 frames in one file"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC, which is not read here. Save it as JPEG"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (claim_of_size(9_400, 9_500), "9400 × 9500 pixels. Expected at most"),
        (claim_of_size(60_000, 60_000), "exceeds limit"),
        (stored(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"), "mode F have no known range"),
        (np.zeros((4, 4), np.float32), "an array of float32. Expected uint8"),
        (np.zeros((4, 4, 7), np.uint8), "not a readable picture"),
        (Path("nowhere.png"), "nowhere.png: no such file"),
        (Path(), "not a readable picture"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_what_is_no_picture_or_not_one_is_refused_in_a_sentence(file: images.Picture, words: str) -> None:
    with pytest.raises(ImageError) as error:
        decode(file, channels=3)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_file_of_too_many_bytes_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "large.png").write_bytes(stored(COLOUR, "PNG"))
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    with pytest.raises(ImageError, match=r"large.png: [\d,]+ bytes. Expected at most 100"):
        decode(tmp_path / "large.png", channels=1)


def test_sixteen_bits_are_scaled_not_cut_off() -> None:
    deep = (np.asarray(GREY).astype(np.uint16) << 8) + 77
    np.testing.assert_array_equal(decode(stored(Image.fromarray(deep), "PNG"), channels=1)[0], np.asarray(GREY))


def test_sixteen_bits_of_a_grey_map_are_scaled_too() -> None:
    deep = (np.asarray(GREY).astype(np.uint16) << 8) + 77
    np.testing.assert_array_equal(decode(stored(Image.fromarray(deep), "PPM"), channels=1)[0], np.asarray(GREY))


def test_an_array_with_channels_is_one_picture_and_one_without_holds_several() -> None:
    grey, clear = np.asarray(GREY), np.asarray(COLOUR.convert("RGBA"))
    for picture in (grey, grey[:, :, None], np.asarray(COLOUR), clear):
        assert [one.shape for one in listed(picture)] == [picture.shape]
    assert len(listed(np.stack([grey] * 3))) == 3
    np.testing.assert_array_equal(decode(grey[:, :, None], channels=1)[0], grey)
    np.testing.assert_array_equal(decode(clear, channels=3).transpose(1, 2, 0), np.asarray(COLOUR))


def test_inks_and_palettes_and_single_bits_look_as_they_should() -> None:
    inks = decode(stored(COLOUR.resize((300, 400)).convert("CMYK"), "JPEG", quality=95), channels=3)
    plain = decode(stored(COLOUR.resize((300, 400)), "JPEG", quality=95), channels=3)
    assert np.abs(inks.astype(int) - plain).mean() < 4  # of 255: two compressions of one picture
    few = COLOUR.quantize(16)
    np.testing.assert_array_equal(decode(stored(few, "PNG"), channels=3), np.asarray(few.convert("RGB")).transpose(2, 0, 1))
    assert set(np.unique(decode(stored(GREY.convert("1"), "PNG"), channels=1))) == {0, 255}


def test_clear_pixels_are_white_whatever_colour_they_hide() -> None:
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0] = (200, 10, 10, 255)
    np.testing.assert_array_equal(
        decode(stored(Image.fromarray(pixels), "PNG"), channels=3)[:, :, 0].T, [[200, 10, 10], [255] * 3]
    )


def test_a_photo_with_a_second_copy_beside_it_is_one_photo() -> None:
    first = decode(stored(COLOUR, "JPEG", quality=90), channels=3)
    np.testing.assert_array_equal(decode(stored(COLOUR, "MPO", quality=90, **FILM), channels=3), first)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_stands_upright_as_its_camera_says(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # stored so, a viewer turns it back by 270 degrees
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    as_taken = COLOUR.transpose(turned[orientation]) if orientation in turned else COLOUR
    found = open_upright(stored(as_taken, "PNG", exif=exif), channels=3)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(COLOUR))
    for kind in ("PNG", "JPEG", "TIFF", "WEBP"):
        assert size_of(stored(as_taken, kind, exif=exif)) == COLOUR.size


@pytest.mark.parametrize("box", [(30, 0, 40, 10), (-9, -9, 0, 5), (5, 5, 5, 9), (float("nan"), 0, 5, 5), (-900, 0, 2, 9)])
def test_a_box_that_is_not_inside_is_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(ImageError, match=r"face 7: box .* (is none. Expected left < right|lies outside of 30 × 40. Expected)"):
        decode(COLOUR, channels=1, size=8, box=box, name="face 7")


@pytest.mark.parametrize("box", [(0.1, 0.1, 0.4, 0.4), (5, 5, 20, 5.9), (-10, 0, 0.4, 30)])
def test_a_box_of_less_than_a_pixel_is_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(ImageError, match=r"face 7: box .* less than a pixel .* Expected pixels, not shares of the picture."):
        decode(COLOUR, channels=1, box=box, name="face 7")


def test_what_of_a_box_lies_outside_is_left_out() -> None:
    for size in (8, None):
        cut = decode(COLOUR, channels=3, size=size, box=(-1, 4, 31, 41.5))
        np.testing.assert_array_equal(cut, decode(COLOUR, channels=3, size=size, box=(0, 4, 30, 40)))


def test_one_pixel_is_a_picture() -> None:
    assert decode(Image.new("L", (1, 1), 7), channels=1, size=3).tolist() == [[[7] * 3] * 3]
