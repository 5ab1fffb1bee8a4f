"""Prints how long the review page takes for its first view and for the next face, in a headless Chromium.

python benchmarks/review.py [TABLE AUDIT]    (without them: 30,000 drawn faces, made in about two minutes)
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from playwright.sync_api import expect, sync_playwright

from mien.audit.run import audit
from mien.data.readers import drawn
from mien.data.table import SampleTable
from mien.predict.predictions import Predictions

FACES, NEXT = 30_000, 100
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Runs before the page's own script: notes when each of the pictures in view is there, and when a face's name changes.
WATCH = """
addEventListener("keydown", () => (window.pressed = performance.now()), { capture: true });
addEventListener("DOMContentLoaded", () => {
  window.changes = { name: [], status: [] };
  new MutationObserver(() => {
    const seen = [...document.querySelectorAll(".cell img")].filter((one) => one.getBoundingClientRect().top < innerHeight);
    if (!window.firstView && seen.length)
      Promise.all(seen.map((one) => one.decode())).then(() => (window.firstView ??= performance.now()));
  }).observe(document.getElementById("grid"), { childList: true, subtree: true });
  for (const [id, times] of Object.entries(changes)) {
    const settle = () => requestAnimationFrame(() => times.push(performance.now()));
    new MutationObserver(settle).observe(document.getElementById(id), { childList: true });
  }
});
"""


def write_faces(folder):
    """Returns a table of drawn faces, a few thousand of them repeated, and its audit."""
    some = drawn.read(faces=3_000)
    columns = some.columns.take(pa.array(np.arange(FACES) % len(some)))
    columns = columns.set_column(0, "sample", pa.array([f"face_{row:05d}" for row in range(FACES)]))
    table = replace(some, columns=columns)
    probs = np.random.default_rng(0).dirichlet(np.ones(8), FACES).astype(np.float32)
    table.write(folder / "faces.parquet")
    pq.write_table(audit(table, Predictions(tuple(table.samples), probs, table.classes)), folder / "audit.parquet")
    return folder / "faces.parquet", folder / "audit.parquet"


def measure_first(page):
    """Returns the time in ms from the request of the page until all pictures in view are there."""
    expect(page.locator(".cell img").first).to_be_visible()
    page.wait_for_timeout(1000)
    return page.evaluate("firstView")


def measure_next(page):
    """Returns times in ms from a key on: next face drawn by n, next face drawn by a decision, that decision acknowledged."""
    page.keyboard.press("Enter")
    expect(page.locator("#name")).to_contain_text("Face 1 ")
    found = {("n", "name"): [], ("1", "name"): [], ("1", "status"): []}
    for key, wanted in (("n", ["name"]), ("1", ["name", "status"])):
        for _ in range(NEXT):
            page.wait_for_timeout(100)  # people look at a face at least as long
            page.evaluate("changes.name.length = changes.status.length = 0")
            page.keyboard.press(key)
            for what in wanted:
                while not (passed := page.evaluate(f"changes.{what}.length ? changes.{what}[0] - pressed : 0")):
                    page.wait_for_timeout(5)
                found[key, what].append(passed)
    return found.values()


def main():
    """Starts the page on one or the other table and measures it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", nargs="?", type=Path)
    parser.add_argument("audit", nargs="?", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as player:
        folder = Path(name)
        table, scores = (chosen.table, chosen.audit) if chosen.table else write_faces(folder)
        command = [sys.executable, "-m", "mien", "audit", "review", str(table), "--scores", str(scores), "--port", "0"]
        command += ["--decisions", str(folder / "d.jsonl"), "--reviewer", "benchmark"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
            try:
                address = next(line for line in server.stderr if "http" in line).split()[1]
                browser = player.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False)
                firsts = []
                for _ in range(6):
                    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
                    page.add_init_script(WATCH)
                    page.goto(address)
                    firsts.append(measure_first(page))
                nexts = [f"{np.median(one):.0f} ms (95 % within {np.quantile(one, 0.95):.0f} ms)" for one in measure_next(page)]
            finally:
                server.terminate()
    count = len(SampleTable.read(table)) if chosen.table else FACES
    print(
        f"review: {count:,} faces: first view {np.median(firsts[1:]):.0f} ms (the first time {firsts[0]:.0f} ms); "
        f"next face by key {nexts[0]}, by a decision {nexts[1]}; the decision is on the disk after {nexts[2]}"
    )


if __name__ == "__main__":
    main()
