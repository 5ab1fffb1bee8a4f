"""Prints what stays of memory, handles and decisions in a review page that gets good and bad requests side by side.

python benchmarks/soak_review.py --minutes 10    (without it: some seconds); ends with status 1 where something is wrong
"""

import itertools
import json
import random
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from soak import JSON, Ask, Process, minutes_given, request

from mien.audit.decisions import read
from mien.audit.run import audit
from mien.data.readers import drawn
from mien.predict.predictions import Predictions


def some_asks(samples, number):
    """Returns good and bad requests; decisions are on a random face and bear a number."""

    def decide(name, weight, status, how="whole", headers=None, **changed):
        choice = {"sample": random.choice(samples), "to": random.sample(["fear", "anger", "sadness"], 2), "why": str(number)}
        content = request("/decide", json.dumps(choice | changed).encode(), kind=JSON, **headers or {})
        return Ask(name, weight, content, (status,), None, how)

    rows = random.sample(range(len(samples)), 50)
    return [
        decide("decide", 10, 200, "keep"),
        Ask("undo", 1, request("/undo", b"{}", kind=JSON), (200,), None, "keep"),
        Ask("list", 1, request("/list?state=all")),
        Ask("faces", 2, request(f"/faces?rows={','.join(map(str, rows))}")),
        Ask("face", 2, request(f"/face/{rows[0]}?model=true")),
        Ask("page", 0.5, request("/")),
        decide("decide, another face", 1, 422, sample="nobody"),
        decide("decide, another answer", 1, 422, to=["nothing"]),
        decide("decide, too large", 0.5, 413, why="a" * 200_000),
        decide("decide, another site's page", 1, 403, headers={"Origin": "https://evil.example"}),
        decide("decide, another host", 1, 421, headers={"Host": "evil.example"}),
        Ask("decide, no JSON", 1, request("/decide", b"{", kind=JSON), (422,)),
        Ask("face that is none", 1, request("/face/999999"), (422,)),
        Ask("no such path", 1, request("/../../etc/passwd"), (404,)),
        Ask("another method", 1, request("/decide"), (405,)),
        Ask("no HTTP", 1, b"\x16\x03\x01\x02\x00\x01\xff\r\n\r\n", (400,)),
        decide("decide, leaves in the middle of its body", 1, 0, "leave"),
        decide("decide, leaves in the middle of its answer", 1, 0, "drop"),
    ]


def compare(load, path):
    """Returns how many decisions were acknowledged and how many lines the file has; what it lacks is `wrong`."""
    found, problems = read(path)
    load.wrong += problems
    kept = Counter(one.why for one in found if one.how != "undo")
    sent = Counter(json.loads(ask.content.partition(b"\r\n\r\n")[2])["why"] for ask, _ in load.kept if ask.name == "decide")
    load.wrong += [f"decision {name}: {kept[name]} lines, acknowledged {n}" for name, n in sent.items() if kept[name] < n]
    undone = sum(answer["face"] is not None for ask, answer in load.kept if ask.name == "undo")
    if (lines := len(found) - kept.total()) != undone:
        load.wrong.append(f"{lines} lines take something back, acknowledged {undone}")
    return sent.total(), len(found)


def main():
    """Soaks the page of one reviewer, who has twenty browsers."""
    table, minutes = drawn.read(faces=2_000), minutes_given(__doc__)
    probs = np.random.default_rng(0).dirichlet(np.ones(8), len(table)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        faces, scores, decisions = (Path(folder) / name for name in ("faces.parquet", "audit.parquet", "decisions.jsonl"))
        table.write(faces)
        pq.write_table(audit(table, Predictions(tuple(table.samples), probs, table.classes)), scores)
        files = [str(faces), "--scores", str(scores), "--decisions", str(decisions), "--reviewer", "ann"]
        process, numbers = Process(Path(folder) / "log", "audit", "review", *files), itertools.count()
        load = process.soak(
            minutes, lambda load: [load.client(lambda: some_asks(table.samples, next(numbers)), 20) for _ in range(20)]
        )
        acknowledged, lines = compare(load, decisions)
    print(f"review, 20 clients, {minutes:g} min, {acknowledged:,} decisions acknowledged, {lines:,} lines:", end=" ")
    process.show(load)


if __name__ == "__main__":
    main()
