"""Uploads: the pictures of a multipart form, read into memory as they arrive and never further than the limits."""

from __future__ import annotations

import asyncio
import io
import logging
from typing import TYPE_CHECKING, NamedTuple

from fastapi import Request
from PIL import Image
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from mien.data.images import FORMATS
from mien.serve.limits import Limits
from mien.serve.problem import Problem

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD = "files"
logging.getLogger("python_multipart").setLevel(logging.ERROR)  # what it warns of is answered; a log is not strangers' to fill


class Gone(Exception):  # noqa: N818 - no error: the client has left, and nobody is told
    """The client closed the connection."""


class Upload(NamedTuple):
    """The files of one request: their contents and their names."""

    pictures: list[bytes]
    names: list[str]


async def read_upload(request: Request, limits: Limits) -> Upload:
    """Returns the files of a form.

    Raises:
        Problem: If it is no form, too large, or too slow.
        Gone: If the client leaves.
    """
    if int(request.headers.get("content-length", 0)) > limits.max_bytes:
        raise _too_many_bytes(limits)
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        sent = kind.decode("latin-1") or "of no type"
        raise Problem(415, f"The body is {sent}. Expected multipart/form-data, as curl -F {FIELD}=@photo.jpg sends.")
    try:
        async with asyncio.timeout(limits.timeout_s):
            return await _read(request, options.get(b"boundary", b""), limits)
    except TimeoutError:
        raise Problem(408, f"The body was not here after {limits.timeout_s:g} s. Send fewer or smaller pictures.") from None
    except FormParserError as error:
        raise Problem(400, f"The body is no multipart form ({error}). Send the pictures as fields called {FIELD}.") from None


async def _read(request: Request, boundary: bytes, limits: Limits) -> Upload:
    form, size, more = _Form(boundary, limits.max_files), 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Gone
        chunk, more = message.get("body", b""), message.get("more_body", False)
        size += len(chunk)
        if size > limits.max_bytes:
            raise _too_many_bytes(limits)
        form.write(chunk)
    if not form.ended:
        raise FormParserError("it ends too early")
    if not form.files:
        raise Problem(400, f"The form has no file. Send each picture as a field called {FIELD}.")
    names = [name or f"picture_{place:05d}" for place, (name, _) in enumerate(form.files)]
    return Upload([content for _, content in form.files], names)


def _too_many_bytes(limits: Limits) -> Problem:
    detail = f"The body has more than {limits.max_bytes:,} bytes. Send fewer or smaller pictures."
    return Problem(413, detail, limit="bytes")


class _Form:
    """The parts of a form, filled by the parser's callbacks."""

    def __init__(self, boundary: bytes, max_files: int) -> None:
        self.files: list[tuple[str, bytes]] = []
        self.max_files, self.ended = max_files, False
        self._field, self._value, self._headers, self._content = bytearray(), bytearray(), dict[bytes, str](), bytearray()
        if not boundary:
            raise FormParserError("its boundary is missing")
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }
        self.write = MultipartParser(boundary, callbacks).write

    def _on_part_begin(self) -> None:
        self._headers, self._content = {}, bytearray()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[bytes(self._field).lower()] = self._value.decode("latin-1")
        self._field, self._value = bytearray(), bytearray()

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def _on_part_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        field, name = (options.get(key, b"").decode("utf-8", "replace") for key in (b"name", b"filename"))
        if field != FIELD:
            raise Problem(400, f"The form has a field called {field[:100]!r}. Expected pictures in fields called {FIELD}.")
        self.files.append((name, bytes(self._content)))
        if len(self.files) > self.max_files:
            raise Problem(413, f"The form has more than {self.max_files} files. Send them in several requests.", limit="files")

    def _on_end(self) -> None:
        self.ended = True


def open_pictures(upload: Upload, max_pixels: int) -> list[Image.Image | bytes]:
    """Returns pictures whose headers alone were read; what is none stays as its first bytes, of which `predict` says so.

    Raises:
        Problem: If they have too many pixels together.
    """
    opened: list[Image.Image | bytes] = []
    num_pixels = 0
    for content, name in zip(upload.pictures, upload.names, strict=True):
        try:
            image = Image.open(io.BytesIO(content), formats=FORMATS)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            num_pixels = max_pixels + 1
        except Exception:  # Pillow's plug-ins raise whatever their format's parser met
            opened.append(content[:12])  # enough for `predict` to say what it is
        else:
            num_pixels += image.width * image.height
            opened.append(image)
        if num_pixels > max_pixels:
            detail = f"The pictures up to {name} have more than {max_pixels:,} pixels. Shrink them, or send fewer."
            raise Problem(413, detail, limit="pixels")
    return opened
