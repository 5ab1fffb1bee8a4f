"""Picture files to arrays: the one function that decodes, the array of all faces of a table, and arrays to files."""

import base64
import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError, features

from mien.data.places import beneath, read_picture
from mien.data.table import SampleTable
from mien.data.work import cut
from mien.errors import ImageError
from mien.files import raise_want_of_memory

MAX_PIXELS = 89_000_000  # larger pictures are refused before they are decoded; not stated; ours: Pillow warns from there on
# Of Pillow's formats those in which photos come; none of them starts another program, as PostScript does.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", *(("AVIF",) if features.check("avif") else ()))
MAX_BYTES = 500_000_000  # not stated; ours: no file larger than this is read
LEAST_INSIDE = 0.01  # share of a box; with less of it in the picture, it is a mistake; not stated; ours

Picture = Path | str | bytes | np.ndarray | Image.Image


def decode(
    picture: Picture, *, channels: int, size: int | None = None, box: Sequence[float] | None = None, name: str | None = None
) -> np.ndarray:
    """Returns one picture, upright, cut to `box` and shrunk to `size`, as (C, H, W) uint8.

    Args:
        picture: A path or URL, a file's bytes, an (H, W) or (H, W, 1, 3 or 4) uint8 array, or a Pillow image.
        channels: 1 for grey (ITU-R 601 luma), 3 for RGB.
        size: Side of the square result in pixels; null keeps the picture's own size.
        box: Left, top, right, bottom in pixels of the upright picture; null takes all of it. What of it lies outside of the
            picture is left out: detectors draw boxes over its edges.
        name: What to call the picture in an error.

    Raises:
        ImageError: If it cannot be read, is larger than `MAX_PIXELS`, or the box is none or lies outside.
    """
    name = name or name_of(picture)
    image = open_upright(picture, channels=channels, name=name)
    cut_out = None
    if box is not None:
        left, top, right, bottom = np.clip(edges_of(image, box, f"{name}: box"), 0, [*image.size, *image.size]).tolist()
        cut_out = (left, top, right, bottom)
    if size is not None and (cut_out is not None or image.size != (size, size)):
        image = image.resize((size, size), Image.Resampling.BILINEAR, box=cut_out, reducing_gap=2.0)  # box filter first
    elif cut_out is not None:
        image = image.crop((round(left), round(top), round(right), round(bottom)))
    pixels = np.asarray(image, np.uint8)  # (H, W) or (H, W, 3)
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def edges_of(image: Image.Image, box: Sequence[float] | np.ndarray, where: str = "box") -> np.ndarray:
    """Returns (4,) left, top, right, bottom of a box, if they make sense in the picture.

    Raises:
        ImageError: If the box is empty, no number, outside of the picture, or shows less than a pixel of it in width or height.
    """
    edges = np.array(box, np.float64)
    where = f"{where} ({', '.join(f'{edge:g}' for edge in edges)})"
    if len(edges) != 4 or not np.isfinite(edges).all() or (edges[:2] >= edges[2:]).any():
        raise ImageError(f"{where} is none. Expected left < right and top < bottom, in pixels.")
    inside = np.clip(edges, 0, [*image.size, *image.size])
    if (inside[2:] - inside[:2]).prod() < LEAST_INSIDE * (edges[2:] - edges[:2]).prod():
        raise ImageError(f"{where} lies outside of {image.width} × {image.height}. Expected pixels of the upright picture.")
    if (inside[2:] - inside[:2] < 1).any():
        raise ImageError(f"{where} is less than a pixel wide or high. Expected pixels, not shares of the picture.")
    return edges


def open_upright(picture: Picture, *, channels: int, name: str | None = None) -> Image.Image:
    """Returns a picture as Pillow holds it: decoded, turned as its EXIF orientation says, grey or RGB, on white where clear.

    Args:
        picture: A path or URL, a file's bytes, an (H, W) or (H, W, 1, 3 or 4) uint8 array, or a Pillow image.
        channels: 1 for grey (ITU-R 601 luma), 3 for RGB.
        name: What to call the picture in an error.

    Raises:
        ImageError: If it is no picture, or not one, or larger than `MAX_PIXELS`; in one sentence.
    """
    with _in_a_sentence(name or name_of(picture)):
        image = _open(picture)
        if image.width * image.height > MAX_PIXELS:
            raise ImageError(f"{image.width} × {image.height} pixels. Expected at most {MAX_PIXELS:,}; shrink it first.")
        # A photo with a small copy or a depth map beside it (MPO) is one photo; the frames of a film are not one answer.
        if (frames := getattr(image, "n_frames", 1)) > 1 and image.format != "MPO":
            raise ImageError(f"{frames} frames in one file. Expected one picture; save the frame that you mean.")
        form, image = image.format, ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16") or (form, image.mode) == ("PPM", "I"):  # 16 bits, which Pillow cuts off at 255
            image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
        elif image.mode in ("I", "F"):
            raise ImageError(f"pixels of mode {image.mode} have no known range. Expected 8 or 16 bits; save it so.")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert("L" if channels == 1 else "RGB")


def size_of(picture: Picture) -> tuple[int, int]:
    """Returns width and height of a picture once it is upright; what is no PNG is not decoded for it.

    Raises:
        ImageError: If it is no picture; in one sentence.
    """
    with _in_a_sentence(name_of(picture)):
        image = _open(picture)
        lies = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
        return (image.height, image.width) if lies and image.format != "TIFF" else image.size  # Pillow opens TIFF upright


@contextmanager
def _in_a_sentence(name: str) -> Iterator[None]:
    """Makes whatever opening a picture raises an ImageError that names it."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from None
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file. Check the path.") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name}: not a picture in any format that is read here. Save it as JPEG or PNG.") from None
    except Exception as error:  # Pillow's plug-ins raise whatever their format's parser met
        raise_want_of_memory(error)
        raise ImageError(f"{name}: not a readable picture ({type(error).__name__}: {error}). Remove or replace it.") from None


def listed(pictures: Picture | Sequence[Picture]) -> Sequence[Picture]:
    """Returns pictures in a list, also where there is one alone."""
    if isinstance(pictures, np.ndarray):
        alone = pictures.ndim == 2 or (pictures.ndim == 3 and pictures.shape[2] in (1, 3, 4))  # (N, H, W) are N grey ones
        return [pictures] if alone else list(pictures)
    return [pictures] if isinstance(pictures, Path | str | bytes | Image.Image) else pictures


def name_of(picture: Picture) -> str:
    """Returns what to call a picture: its path, or just that."""
    return str(picture) if isinstance(picture, Path | str) else "picture"


def _open(picture: Picture) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8:
            raise ImageError(f"an array of {picture.dtype}. Expected uint8, 0 to 255.")
        return Image.fromarray(picture[:, :, 0] if picture.shape[2:] == (1,) else picture)
    if not isinstance(picture, bytes):
        picture = read_picture(Path(picture), MAX_BYTES)
    if not picture:
        raise ImageError("an empty file. Remove or replace it.")
    if picture[4:8] == b"ftyp" and b"hei" in picture[8:40]:  # the brands heic, heix …; ISO/IEC 23008-12
        raise ImageError("HEIC, which is not read here. Save it as JPEG or PNG.")
    return Image.open(io.BytesIO(picture), formats=FORMATS)


def load_images(
    table: SampleTable,
    *,
    channels: int,
    size: int,
    into: np.ndarray | None = None,
    done: Callable[[int], None] | None = None,
) -> tuple[np.ndarray, dict[str, str]]:
    """Returns the faces of a table as (N, C, size, size) uint8, and why those that cannot be read cannot.

    Args:
        table: The faces; a row with a `box` is cut to it.
        channels: 1 or 3.
        size: Side in pixels.
        into: Where to write, such as a memory map; null makes an array.
        done: Called with the number of faces decoded so far.

    Returns:
        The array, with zeros for broken pictures, and a mapping of sample to reason.
    """
    images = np.zeros((len(table), channels, size, size), np.uint8) if into is None else into
    inside = table.columns["image"] if "image" in table else None
    paths = table.columns["path"].to_pylist() if "path" in table else [None] * len(table)
    boxes = table.columns["box"].to_pylist() if "box" in table else [None] * len(table)
    samples, root = table.samples, table.root or Path()
    broken: dict[str, str] = {}

    def load(rows: range) -> int:
        for row in rows:
            stored = inside[row].as_py() if inside is not None else None
            try:
                picture = stored if stored is not None else beneath(root, str(paths[row]))
                images[row] = decode(picture, channels=channels, size=size, box=boxes[row], name=samples[row])
            except ImageError as error:
                broken[samples[row]] = str(error)
        return len(rows)

    # Small pictures spend their time in Python, where threads only get in each other's way.
    with ThreadPoolExecutor(os.cpu_count() if size > 100 else 1) as pool:
        total = 0
        for count in pool.map(load, cut(len(table), 256)):
            total += count
            if done is not None:
                done(total)
    return images, broken


def face_png(table: SampleTable, row: int, *, size: int) -> str | None:
    """Returns one face of a table, `size` pixels wide and high, as base64 PNG; null where it cannot be read."""
    images, broken = load_images(table.take(np.array([row])), channels=3, size=size)
    return None if broken else base64.b64encode(as_png(images[0])).decode("ascii")


def as_png(pixels: np.ndarray, *, compress_level: int = 6) -> bytes:
    """Returns (H, W) or (3, H, W) uint8 as a PNG file; what is grey has one channel, in a third of the bytes."""
    if pixels.ndim == 3:
        pixels = pixels[0] if (pixels == pixels[:1]).all() else pixels.transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=compress_level)
    return file.getvalue()
