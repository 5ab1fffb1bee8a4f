"""Prints what a server of the default model answers to many clients at once, beside `predict` on the same faces."""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import torch
from machine import best_times_s, product_work
from predict import product_rate

from mien.data.readers import drawn
from mien.predict.predictor import Predictor

FACES = 512


def requests_of(faces, per_request):
    """Returns (request, answer) as bytes: some faces cut out before, and the rows that `predict` has for them."""
    predictor = Predictor.load("default", threads=1)
    made = []
    for start in range(0, len(faces), per_request):
        names = [f"{place}.png" for place in range(start, start + per_request)]
        contents = faces[start : start + per_request]
        parts = [
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n' % (name.encode(), content)
            for name, content in zip(names, contents, strict=True)
        ]
        body = b"".join(parts) + b"--x--\r\n"
        head = (
            "POST /v1/predict?cropped=true HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        rows = predictor.predict(contents, names=names, cropped=True).to_json().split("\n")
        made.append((head.encode() + body, ", ".join(rows).encode()))
    return made


async def ask(reader, writer, request):
    """Returns status, body and how long to wait before asking again."""
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    wait = head.partition(b"retry-after:")[2].split(b"\r\n")[0]
    return int(head[9:12]), await reader.readexactly(length), float(wait or 0)


async def client(place, port, made, end, found):
    """Asks until the end, one request after the other; writes down how long each answer took and what came instead."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < end:
        request, rows = made[place % len(made)]
        place += 1
        started = time.perf_counter()
        try:
            status, body, wait = await ask(reader, writer, request)
        except (OSError, asyncio.IncompleteReadError) as error:
            found["errors"].append(str(error))
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            continue
        if status == 200:
            found["times_s"].append(time.perf_counter() - started)
            found["different"] += body.partition(b'"predictions": [')[2][:-2] != rows
        elif status == 429:
            found["refused"] += 1
            await asyncio.sleep(wait)
        else:
            found["errors"].append(status)
    writer.close()


async def load(port, clients, seconds, made):
    """Returns what `clients` clients got in so many seconds."""
    found = {"times_s": [], "refused": 0, "different": 0, "errors": []}
    end = time.perf_counter() + seconds
    await asyncio.gather(*(client(place * 7, port, made, end, found) for place in range(clients)))
    return found


def memory_mb(address):
    """Returns the server's resident memory in MB, by its own metrics."""
    with urllib.request.urlopen(address + "/metrics") as response:
        lines = response.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("process_resident_memory_bytes ")) / 1e6


def core_s(pid):
    """Returns the time on cores of a running process, as Linux tells it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def measure(clients, seconds, made):
    """Returns what clients got from a server of their own, its memory before and after, its start and its time on cores."""
    started = time.perf_counter()
    command = (sys.executable, "-m", "mien", "serve", "--port", "0")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}) as server:
        address = server.stderr.readline().split()[1]
        ready_s = time.perf_counter() - started
        port = int(address.rpartition(":")[2])
        asyncio.run(load(port, clients, min(5, seconds), made))  # until caches and allocator have what they want
        first_s, first_mb = core_s(server.pid), memory_mb(address)
        found = asyncio.run(load(port, clients, seconds, made))
        found |= {"core_s": core_s(server.pid) - first_s, "before_mb": first_mb, "after_mb": memory_mb(address)}
        server.terminate()
    return found | {"ready_s": ready_s}


def predict_rate(faces):
    """Returns the faces that `predict` answers in a second of a core from the same files, as `mien predict --json` does."""
    predictor = Predictor.load("default", threads=1)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{place}.png" for place in range(len(faces))]
        for path, content in zip(paths, faces, strict=True):
            path.write_bytes(content)
        time_s, product_s = best_times_s(
            lambda: predictor.predict(paths, cropped=True).to_json(), product_work(torch.float32), repeats=5
        )
    return len(faces) / time_s, product_rate(product_s)


def main():
    """Loads a server for each number of faces in a request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--faces", type=int, nargs="+", default=[1, 8], help="of a request")
    given = parser.parse_args()
    faces = drawn.read(faces=FACES).values("image")
    rate, machine = predict_rate(faces)
    for number in given.faces:
        found = measure(given.clients, given.seconds, requests_of(faces, number))
        times_ms = np.array(found.pop("times_s")) * 1e3
        p50, p99 = np.percentile(times_ms, (50, 99))
        answered = len(times_ms) * number
        print(
            f"serve, {given.clients} clients, {given.seconds:g} s, {number} faces a request: {answered / given.seconds:,.0f} "
            f"faces/s, p50 {p50:,.0f} ms, p99 {p99:,.0f} ms; {answered / found['core_s']:,.0f} faces/s of a core of "
            f"{machine:.0f} GFLOP/s in float32, {answered / found['core_s'] / rate:.0%} of predict's {rate:,.0f}; "
            f"{found['refused']:,} of {len(times_ms) + found['refused']:,} refused with 429, {len(found['errors'])} errors, "
            f"{found['different']} answers unlike predict's; "
            f"memory {found['before_mb']:.0f} MB, after {found['after_mb']:.0f}; ready after {found['ready_s']:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
