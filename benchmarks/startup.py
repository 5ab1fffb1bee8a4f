"""Prints how long commands take that do next to nothing, beside Python's own start and numpy's."""

import resource
import subprocess
import sys

COMMANDS = {
    "python -c pass": ("-c", "pass"),
    "import numpy": ("-c", "import numpy"),
    "import mien": ("-c", "import mien"),
    "mien --help": ("-m", "mien", "--help"),
    "mien predict --help": ("-m", "mien", "predict", "--help"),
}
REPEATS = 5


def core_time_s(command):
    """Returns the time that a Python command spends on a core, in seconds; waiting for a core does not count."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run((sys.executable, *command), check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    """Starts the commands in turns and takes the shortest time of each."""
    rounds = [[core_time_s(command) for command in COMMANDS.values()] for _ in range(REPEATS)]
    times = dict(zip(COMMANDS, map(min, zip(*rounds, strict=True)), strict=True))
    floor_s = times["python -c pass"]
    print(
        "start-up: " + ", ".join(f"{name} {time_s * 1e3:.0f} ms ({time_s / floor_s:.1f} ×)" for name, time_s in times.items())
    )


if __name__ == "__main__":
    main()
