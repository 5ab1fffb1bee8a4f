"""Prints what stays of memory and handles in a server that gets good and bad requests side by side.

python benchmarks/soak.py --minutes 30    (without it: some seconds); ends with status 1 where an answer is wrong
"""

import argparse
import asyncio
import io
import json
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import skimage.data
from PIL import Image
from serve import core_s

from mien.data.readers import drawn
from mien.predict.predictor import Predictor

TIMEOUT_S, PLACES = 5, 128  # of the server, so that clients who stop are seen to the end; its default number of places
RATE = 20  # connections a second, two requests each in the mean
JSON = "application/json"
FORM = "multipart/form-data; boundary=x"


class Ask(NamedTuple):
    """A request: its bytes, the statuses that may come (0: the connection is closed without one), the rows, how it is sent."""

    name: str
    weight: float
    content: bytes
    statuses: tuple[int, ...] = (200,)
    rows: bytes | None = None
    how: str = "whole"


def request(target, body=b"", *, kind=FORM, length=None, **headers):
    """Returns the bytes of a request: GET without a body, POST with one."""
    lines = [f"{'POST' if body or length else 'GET'} {target} HTTP/1.1"]
    fields = {"Host": "localhost"} | ({"Content-Type": kind, "Content-Length": length or len(body)} if body or length else {})
    lines += [f"{name}: {value}" for name, value in (fields | headers).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def form(pictures, field="files"):
    """Returns the form of files by name."""
    head = '--x\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n'
    return b"".join((head % (field, name)).encode() + one + b"\r\n" for name, one in pictures.items()) + b"--x--\r\n"


def as_file(image, kind="PNG"):
    """Returns the bytes of a picture's file."""
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def immense():
    """Returns a PNG of a few bytes that says it has 10¹⁰ pixels."""
    parts = [(b"IHDR", (100_000).to_bytes(4, "big") * 2 + b"\x08\0\0\0\0"), (b"IDAT", b""), (b"IEND", b"")]
    chunks = (len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big") for kind, data in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


# ---------------------------------------------------------------------- one connection


async def answer(reader):
    """Returns status and body of the next answer; 0 where the connection is closed instead."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        return int(head[9:12]), await reader.readexactly(length)
    except (ConnectionError, asyncio.IncompleteReadError):
        return 0, b""


async def perform(ask, reader, writer):
    """Returns what came of a request that is sent in its own way."""
    content = ask.content
    if ask.how == "slow":  # headers, some bytes at a time, until the server has had enough
        for start in range(0, len(content), 8):
            writer.write(content[start : start + 8])
            await asyncio.sleep(TIMEOUT_S / 8)
            if reader.at_eof() or writer.is_closing():
                break
        return await answer(reader)
    writer.write(content[: len(content) // 2] if ask.how in ("stop", "leave") else content)
    if ask.how in ("leave", "drop"):  # "drop": in the middle of the answer; the connection is reset, not closed
        await (reader.read(9) if ask.how == "drop" else asyncio.sleep(0.05))
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return 0, b""
    return await answer(reader)


class Load:
    """Clients of one port until `end`, and what they found.

    Attributes:
        counts: Of (name of the request, status).
        times_s: Of answers with status 200, by name.
        kept: Requests that asked for something to be kept and were answered with 200, and the answers.
        wrong: Sentences about what should not be.
    """

    def __init__(self, port, end):
        self.port, self.end = port, end
        self.counts, self.times_s, self.kept, self.wrong = Counter(), {}, [], []

    async def exchange(self, asks):
        """Sends requests over one connection, one after the other, and writes down what came."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for ask in asks:
            started = time.perf_counter()
            status, body = await perform(ask, reader, writer)
            self.counts[ask.name, status] += 1
            if status == 200:
                self.times_s.setdefault(ask.name, []).append(time.perf_counter() - started)
            if status not in ask.statuses:
                self.wrong.append(f"{ask.name}: {status} {body[:200]!r}")
            if status == 200 and ask.rows is not None and body.partition(b'"predictions": [')[2][:-2] != ask.rows:
                self.wrong.append(f"{ask.name}: another answer than predict's")
            if status == 200 and ask.how == "keep":
                self.kept.append((ask, json.loads(body)))
        writer.close()

    async def client(self, asks, clients):
        """Sends until the end up to two of `asks()` that are answered with 200, and then any."""
        while time.perf_counter() < self.end:
            await asyncio.sleep(random.expovariate(RATE / clients))
            everything = asks()
            good = [ask for ask in everything if 200 in ask.statuses]
            some = random.choices(good, [ask.weight for ask in good], k=random.randrange(3))
            await self.exchange([*some, *random.choices(everything, [ask.weight for ask in everything])])

    async def flood(self, half, good):
        """Takes all places at once with bodies that stop half way, and looks whether the server says so."""
        while time.perf_counter() < self.end:
            held = [await asyncio.open_connection("127.0.0.1", self.port) for _ in range(PLACES)]
            for _, writer in held:
                writer.write(half)
            await asyncio.sleep(0.2)
            await self.exchange([good._replace(name="face while all places are taken", statuses=(200, 429))])
            await self.exchange([Ask("/readyz while all places are taken", 0, request("/readyz"), (200, 503))])
            for _, writer in held:
                writer.close()
            await asyncio.sleep(20)


# ---------------------------------------------------------------------- the process


class Process:
    """A process of mien that listens, and samples of its memory in MB, handles and threads."""

    def __init__(self, log, *command):
        self.log = log
        everything = (sys.executable, "-m", "mien", *command, "--port", "0")
        self.process = subprocess.Popen(everything, stderr=log.open("wb"), env=os.environ | {"OMP_NUM_THREADS": "1"})
        while "http" not in log.read_text():
            time.sleep(0.1)
        self.port = int(log.read_text().partition("http://127.0.0.1:")[2].split()[0])
        self.samples, self.idle = [], []

    def sample(self):
        """Returns what it holds now."""
        here = Path(f"/proc/{self.process.pid}")
        memory = int((here / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        return memory, len(os.listdir(here / "fd")), len(os.listdir(here / "task"))

    async def watch(self, end):
        """Takes samples until the end."""
        while time.perf_counter() < end:
            self.samples.append(self.sample())
            await asyncio.sleep(min(5, max(0.2, (end - time.perf_counter()) / 6)))

    def soak(self, minutes, work):
        """Returns the load that `work(load)` made, with samples meanwhile, and before and after without any client."""
        load = Load(self.port, time.perf_counter() + 60 * minutes)

        async def everything():
            await asyncio.gather(*work(load), self.watch(load.end))

        self.idle.append(self.sample())
        first_s, started = core_s(self.process.pid), time.perf_counter()
        asyncio.run(everything())
        self.share = (core_s(self.process.pid) - first_s) / (time.perf_counter() - started)
        time.sleep(TIMEOUT_S + 1)  # what was left open is closed
        self.idle.append(self.sample())
        self.process.terminate()
        self.process.wait()
        log = self.log.read_text()
        load.wrong += ["a traceback in the log"] * log.count("Traceback")
        return load

    def show(self, load):
        """Prints what came of it, and ends this program with status 1 where something is wrong."""
        memory, handles, threads = np.array(self.samples).T
        total = sum(load.counts.values())
        by_status = Counter()
        for (_, status), number in load.counts.items():
            by_status[status or "closed"] += number
        print(f"{total:,} requests, {self.share:.0%} of a core: {dict(sorted(by_status.items(), key=str))}")
        for name in sorted({name for name, _ in load.counts}):
            found = {status or "closed": number for (one, status), number in sorted(load.counts.items()) if one == name}
            times_ms = np.array(load.times_s.get(name, [np.nan])) * 1e3
            shown = f", p50 {np.median(times_ms):,.0f} ms, p99 {np.quantile(times_ms, 0.99):,.0f} ms" if 200 in found else ""
            print(f"  {name}: {found}{shown}")
        for what, values, place in (("memory in MB", memory, 0), ("handles", handles, 1), ("threads", threads, 2)):
            sixths = " ".join(f"{np.median(part):.0f}" for part in np.array_split(values, 6))
            before, after = (one[place] for one in self.idle)
            most = f"most {values.max():.0f}"
            print(f"  {what}: {before:.0f} before any client; median of each sixth {sixths}, {most}; {after:.0f} after")
        print(f"  wrong: {len(load.wrong)}", *load.wrong[:20], sep="\n    ", flush=True)
        sys.exit(bool(load.wrong))


def minutes_given(about):
    """Returns for how long the command line asks."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=0.1)
    return parser.parse_args().minutes


# ---------------------------------------------------------------------- what is sent to the server


def server_asks():
    """Returns good and bad requests to the server."""
    crops = drawn.read(faces=32).values("image")
    head = Image.fromarray(skimage.data.astronaut()).crop((115, 10, 345, 240))
    jpeg, png = as_file(head, "JPEG"), as_file(head)
    return [*good_asks(crops, jpeg, png), *bad_asks(crops[0], jpeg)]


def good_asks(crops, jpeg, png):
    """Returns requests with the rows that `predict` has for them, and what else is answered."""
    predictor = Predictor.load("default", threads=1)
    blank = as_file(Image.new("RGB", (64, 48), (90, 120, 150)))
    wide = as_file(Image.new("L", (7000, 7000), 90))  # 49 million pixels: just allowed

    def good(name, weight, pictures, cropped=False):
        rows = predictor.predict(list(pictures.values()), names=list(pictures), cropped=cropped).to_json().replace("\n", ", ")
        target = f"/v1/predict{'?cropped=true' * cropped}"
        return Ask(name, weight, request(target, form(pictures)), (200, 429, 503), rows.encode())

    paths = ("/", "/page.css", "/elements.js", "/page.js", "/healthz", "/metrics", "/v1/models", "/openapi.json")
    return [
        *(good("one face", 0.3, {f"{place}.png": crop}, True) for place, crop in enumerate(crops)),
        *(good("eight faces", 0.5, {f"{n}.png": crops[n] for n in range(s, s + 8)}, True) for s in (0, 8)),
        good("photo, JPEG", 2, {"a.jpg": jpeg}),
        good("photo, PNG", 1, {"a.png": png}),
        good("photos, one cut off, one without a face", 1, {"a.jpg": jpeg, "b.png": blank} | {"c.jpg": jpeg[:2000]}),
        good("49 million pixels", 0.1, {"a.png": wide}, True),
        *(Ask(path, 0.3, request(path)) for path in paths),
        Ask("/readyz", 0.3, request("/readyz"), (200, 503)),
    ]


def bad_asks(crop, jpeg):
    """Returns requests that are refused, stop half way, or whose client leaves."""

    def bad(name, status, pictures, *, weight=1.0, how="whole", field="files", target="/v1/predict", **headers):
        body = form(pictures, field)
        return Ask(name, weight, request(target, body, **headers), (status, 429) if status else (0,), None, how)

    face, photo = {"a.png": crop}, {"a.jpg": jpeg}
    start, chunk = b"7\r\n--x\r\n\r\n\r\n", b"%x\r\n%s\r\n" % (100_000, b"a" * 100_000)
    chunked = (
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Type: %s\r\n\r\n"
        % FORM.encode()
    )
    return [
        bad("picture cut off", 422, {"a.jpg": jpeg[:2000]}),
        bad("no picture", 422, {"a.txt": b"no picture"}),
        bad("10¹⁰ pixels", 413, {"a.png": immense()}),
        bad("65 files", 413, {f"{place}.png": crop for place in range(65)}),
        bad("too large, by its header", 413, face, length=17_000_000),
        Ask("too large, by what comes", 0.1, chunked + start + chunk * 170, (413, 429, 0)),
        Ask("fields without end after the body", 0.1, chunked + start + b"0\r\n" + b"X-A: b\r\n" * 100_000, (400, 429, 0)),
        bad("another field", 400, face, field="url"),
        bad("another type", 415, face, kind=JSON),
        bad("no form", 400, face, kind="multipart/form-data; boundary=y"),
        bad("a parameter of another type", 422, face, target="/v1/predict?cropped=perhaps"),
        bad("another host", 421, face, Host="evil.example"),
        bad("another site's page", 403, face, Origin="https://evil.example"),
        Ask("no such path", 1, request("/../../etc/passwd"), (404,)),
        Ask("another method", 1, request("/v1/predict"), (405,)),
        Ask("no HTTP", 1, b"\x16\x03\x01\x02\x00\x01\xff\r\n\r\n", (400,)),
        Ask("headers too large", 0.5, request("/", **{"X-A": "a" * 100_000}), (400, 0)),
        bad("body stops half way", 408, photo, weight=0.3, how="stop"),
        Ask("headers stop", 0.3, request("/", **{"X-A": "a" * 1000}), (0,), None, "stop"),
        Ask("headers come slowly", 0.3, request("/", **{"X-A": "a" * 1000}), (0,), None, "slow"),
        bad("leaves in the middle of its body", 0, photo, how="leave"),
        bad("leaves in the middle of its answer", 0, photo, how="drop"),
    ]


def main():
    """Soaks the server."""
    with tempfile.TemporaryDirectory() as folder:
        log, minutes = Path(folder) / "log", minutes_given(__doc__)
        asks, process = server_asks(), Process(log, "serve", "--timeout-s", str(TIMEOUT_S))
        half = next(ask.content for ask in asks if ask.name == "body stops half way")[:500]
        load = process.soak(
            minutes, lambda load: [*(load.client(lambda: asks, 40) for _ in range(40)), load.flood(half, asks[0])]
        )
    print(f"serve, 40 clients, {minutes:g} min:", end=" ")
    process.show(load)


if __name__ == "__main__":
    main()
