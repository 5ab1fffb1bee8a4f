"""Prints what one core of this machine gives, the floor under the other benchmarks, and has the clock that they share."""

import time

import torch

COPIED = 64 << 20  # bytes: more than a core's caches hold
SIDE = 1024


def best_times_s(*works, repeats=7):
    """Returns for each work the shortest time that it takes on its core, in seconds.

    The works take turns, so that what else happens on the machine meets them alike. Time is that of the process, on one
    core, not that of the clock on the wall: on a free machine they are the same, on a busy one waiting does not count.
    """
    torch.set_num_threads(1)
    times = [[] for _ in works]
    for _ in range(repeats):
        for work, found in zip(works, times, strict=True):
            start = time.process_time()
            work()
            found.append(time.process_time() - start)
    return [min(found) for found in times]


def copy_work():
    """Returns a work that reads and writes `COPIED` bytes each."""
    source, target = torch.zeros(2, COPIED, dtype=torch.uint8)
    return lambda: target.copy_(source)


def product_work(dtype):
    """Returns a work that multiplies two square matrices of `SIDE`: 2 · SIDE³ operations."""
    left, right = torch.randn(2, SIDE, SIDE).to(dtype)
    return lambda: left @ right


def main():
    """Times a copy and two matrix products."""
    copy_s, float_s, bfloat_s = best_times_s(copy_work(), product_work(torch.float32), product_work(torch.bfloat16))
    print(
        f"machine, one core: copies {2 * COPIED / copy_s / 1e9:.1f} GB/s (read and written), matrix products "
        f"{2 * SIDE**3 / float_s / 1e9:.0f} GFLOP/s in float32, {2 * SIDE**3 / bfloat_s / 1e9:.0f} in bfloat16"
    )


if __name__ == "__main__":
    main()
