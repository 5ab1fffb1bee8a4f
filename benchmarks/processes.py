"""Prints how many times as fast two processes train as one, and what two cores give to trainings that share nothing."""

import os
import socket
import subprocess
import sys
import time

import torch
import torch.distributed as dist
from step import make_trainer, step_work

from mien.learn.gather import sum_over_ranks
from mien.learn.train import _fabric, quick_cpu

# Short turns, many of them: what else happens on the machine spoils some.
ROUNDS, STEPS = 12, 3


def work_of(trainer):
    """Returns a work that does some optimizer steps, and what ranks tell each other after each in `Trainer.fit`."""
    step = step_work(trainer)

    def work():
        for _ in range(STEPS):
            step()
            if trainer.fabric.world_size > 1:
                sum_over_ranks(trainer.sums["loss"]).item()

    return work


def times_s(work):
    """Returns seconds on the wall until both ranks are done, and the most that one of them spent on its core.

    A rank without a work waits, which takes no core.
    """
    dist.barrier()
    start, core_start = time.perf_counter(), time.process_time()
    if work is not None:
        work()
    core_s = time.process_time() - core_start
    dist.barrier()
    spent = torch.tensor([time.perf_counter() - start, core_s])
    dist.all_reduce(spent, dist.ReduceOp.MAX)
    return spent


@quick_cpu()
def measure(rank):
    """Prints one line on rank 0: one process alone, two apart and two together take turns."""
    torch.set_num_threads(1)
    alone = make_trainer()  # before Fabric is told of ranks
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0"}
    together = make_trainer(make_fabric=_fabric, **{"train.devices": "2"})
    works = work_of(alone) if rank == 0 else None, work_of(alone), work_of(together)
    times_s(works[1]), times_s(works[2])
    rounds = torch.stack([torch.stack([times_s(work) for work in works]) for _ in range(ROUNDS)])
    one, apart, both = rounds.amin(0)  # each (2,): on the wall, on a core
    if rank == 0:
        faces = STEPS * alone.recipe.train.batch_size
        (wall, core), (apart_wall, apart_core) = (one / both).tolist(), (2 * one / apart).tolist()
        print(
            f"processes, vit_small_48, 32-true: two train {faces / both[0]:,.0f} faces/s, one {faces / one[0]:,.0f}: "
            f"{wall:.2f} × by the clock on the wall, {core:.2f} × by the cores' own; floor 2 ×; two that share nothing: "
            f"{apart_wall:.2f} × and {apart_core:.2f} ×"
        )


def main():
    """Starts two processes, or is one of them."""
    if len(sys.argv) > 1:
        measure(int(sys.argv[1]))
        return
    if len(os.sched_getaffinity(0)) < 2:
        print("processes: one core here: not measured")
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    ranks = [subprocess.Popen((sys.executable, __file__, str(rank)), env=told) for rank in range(2)]
    sys.exit(max(abs(rank.wait()) for rank in ranks))


if __name__ == "__main__":
    main()
