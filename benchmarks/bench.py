"""Prints the rows of all short benchmarks, one script after the other: `make bench`. One that cannot run says why."""

import os
import subprocess
import sys
from pathlib import Path

# Others take long or need a browser, a table or other packages: README.md says how they are called.
SCRIPTS = (
    "machine",
    "startup",
    "step",
    "processes",
    "gpu",
    "hog",
    "loader",
    "memory",
    "line",
    "detect",
    "predict",
    "video",
    "drawn",
    "evaluate",
    "audit",
)
LIMIT_S = 300  # a script takes 3 to 60 seconds on free cores


def row_of(name):
    """Returns what a script prints, or in a line why it does not."""
    command = sys.executable, Path(__file__).with_name(f"{name}.py")
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # threads that wait for each other take time of the process's clock
    try:
        done = subprocess.run(command, env=one_thread, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"{name}: not measured: more than {LIMIT_S} s, as on a busy machine"
    if done.returncode:
        return f"{done.stdout}{name}: not measured: {(done.stderr.strip() or f'exit code {done.returncode}').splitlines()[-1]}"
    return done.stdout.rstrip()


def main():
    """Runs them all, or those that are named."""
    for name in sys.argv[1:] or SCRIPTS:
        print(row_of(name), flush=True)


if __name__ == "__main__":
    main()
