"""Prints faces a second of loader and views, their share of a training step, and the floor that bandwidth sets."""

import torch
from machine import COPIED, best_times_s, copy_work
from step import make_trainer, step_work

from mien.learn.train import quick_cpu


@quick_cpu()
def main():
    """Times batches of the recipe's weak view beside the step that they are part of."""
    trainer = make_trainer()
    (micro,), device = next(trainer.plan.epoch(0)), torch.device("cpu")
    works = lambda: trainer.faces.batch(micro, 0, device), step_work(trainer), copy_work()
    batch_s, step_s, copy_s = best_times_s(*works)
    faces = len(micro.rows)
    floor_s = faces * trainer.faces.images[0].size * (1 + 4) * copy_s / (2 * COPIED)  # uint8 read, float32 written
    print(
        f"loader, weak view, {faces} faces, one core: {faces / batch_s:,.0f} faces/s, {batch_s / step_s:.1%} of a step of "
        f"vit_small_48; floor {faces / floor_s:,.0f} faces/s (pixels read and written), it takes {batch_s / floor_s:.0f} × it"
    )


if __name__ == "__main__":
    main()
