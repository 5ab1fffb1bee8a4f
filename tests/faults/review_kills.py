"""Kills the review page with `kill -9` while it is sent random decisions, and counts what was acknowledged and is lost.

python tests/faults/review_kills.py 200
"""

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import uvicorn

from mien.audit.decisions import read
from mien.audit.export import read_audit
from mien.audit.review import Review
from mien.audit.run import audit
from mien.data.readers import drawn
from mien.data.table import SampleTable
from mien.predict.predictions import Predictions
from mien.serve.review import make_review_app, review

DELAY_S = 0.004  # longest time from a decision that is sent to the kill: about what it takes to be acknowledged


class Count(NamedTuple):
    """What a number of kills left."""

    acknowledged: int
    lost: int
    more: int  # decisions that were kept but could not be acknowledged any more
    cut: int  # lines


def write_files(folder: Path) -> list[str]:
    """Returns the samples of a table that is written beside an audit of it."""
    table = drawn.read(faces=40, size=16)
    probs = np.random.default_rng(0).dirichlet(np.ones(8), 40).astype(np.float32)
    table.write(folder / "faces.parquet")
    pq.write_table(audit(table, Predictions(tuple(table.samples), probs, table.classes)), folder / "audit.parquet")
    return table.samples


def kills(folder: Path, times: int, *, most: int = 100, seed: int = 0) -> Count:
    """Returns what as many kills left of the decisions that were acknowledged.

    Args:
        folder: For the files.
        times: Kills.
        most: Decisions before a kill.
        seed: Chooses everything.
    """
    samples, chosen = write_files(folder), random.Random(seed)
    path, acknowledged = folder / "decisions.jsonl", []
    nursery = [sys.executable, __file__, "nursery", str(folder)]
    with subprocess.Popen(nursery, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for life in range(times):
            print("go", file=process.stdin, flush=True)
            page, address = process.stdout.readline().split()
            client = http.client.HTTPConnection(address.removeprefix("http://"))
            last = chosen.randrange(most)
            for number in range(most):
                name = f"{life}.{number}"
                if number == last:
                    threading.Timer(chosen.uniform(0, DELAY_S), os.kill, (int(page), signal.SIGKILL)).start()
                if not decide(client, chosen, samples, name):
                    break
                acknowledged.append(name)
            client.close()
            assert process.stdout.readline() == f"{signal.SIGKILL:d}\n"
        process.stdin.close()
    found, problems = read(path)
    kept = {decision.why for decision in found}
    return Count(len(acknowledged), len(set(acknowledged) - kept), len(kept - set(acknowledged)), len(problems))


def nursery(folder: Path) -> None:
    """Starts a page for each line that comes in; each is a process of its own, which need not load everything anew.

    Says its number and address, and once it has ended, by which signal.
    """
    files = (folder / "faces.parquet", folder / "audit.parquet", folder / "decisions.jsonl")
    shown = Review(SampleTable.read(files[0]), read_audit(files[1]), files[2], "ann")
    uvicorn.Config(make_review_app(shown)).load()  # brings what is only loaded when it is needed
    for _ in sys.stdin:
        page = os.fork()
        if not page:

            def tell(text: str) -> None:
                if "http" in text:
                    print(os.getpid(), text.split()[1], flush=True)

            review(*files, reviewer="ann", port=0, tell=tell)
        print(os.waitpid(page, 0)[1], flush=True)


def decide(client: http.client.HTTPConnection, chosen: random.Random, samples: list[str], name: str) -> bool:
    """Returns whether a random decision that bears a name was acknowledged."""
    body = {"sample": chosen.choice(samples), "to": chosen.sample(["fear", "anger", "sadness"], 2), "why": name}
    try:
        client.request("POST", "/decide", json.dumps(body), {"Content-Type": "application/json"})
        answer = client.getresponse()
        return json.loads(answer.read())["face"]["mine"]["why"] == name and answer.status == 200
    except (OSError, http.client.HTTPException, ValueError):
        return False


def main() -> None:
    """Prints what many kills left."""
    if sys.argv[1] == "nursery":
        nursery(Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        count = kills(Path(folder), times := int(sys.argv[1]))
    print(
        f"review: {times} kills during {count.acknowledged:,} acknowledged decisions: {count.lost} lost; "
        f"{count.more} kept that could not be acknowledged, {count.cut} lines cut"
    )


if __name__ == "__main__":
    main()
