"""Prints the share of a GPU's bfloat16 rate that masked pre-training of a ViT-B/16 at 224 pixels reaches; the issue's is 55 %.

python benchmarks/gpu.py [RECIPE] [--section.key value …]      RECIPE: recipes/paper/maskfeat_practised.yaml
python benchmarks/gpu.py --on cpu --model.encoder vit_tiny_patch16_224 --model.image_size 32 --train.batch_size 8   tries itself
"""

import sys
import time
from pathlib import Path

import lightning_fabric
import torch
from step import make_trainer, step_work
from torch.utils.flop_counter import FlopCounterMode

from mien.learn.train import quick_cpu

RECIPE = Path(__file__).parent.parent / "recipes" / "paper" / "maskfeat_practised.yaml"
SIDE = {"cuda": 8192, "cpu": 1024}  # of matrices large enough for the device's full rate
STEPS, PRODUCTS, ROUNDS = 5, 20, 4


def wall_s(work, device, times):
    """Returns the time of one of some works in a row, in seconds, once the device is done with them."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    for _ in range(times):
        work()
    wait()
    return (time.perf_counter() - start) / times


def show(recipe, device, overrides):
    """Times steps and products in turns, and prints the shortest of each."""

    def fabric(recipe):
        return lightning_fabric.Fabric(accelerator=device, devices=1, precision=recipe.train.precision)

    trainer = make_trainer(recipe, fabric, count=2 * int(overrides.get("train.batch_size", 1024)), **overrides)
    step, train, model = step_work(trainer), trainer.recipe.train, trainer.recipe.model
    with FlopCounterMode(display=False) as counter:
        step()
    operations = counter.get_total_flops()
    side = SIDE[device]
    left, right = torch.randn(2, side, side, device=device, dtype=torch.bfloat16)
    wall_s(step, device, 2), wall_s(lambda: left @ right, device, 2)
    rounds = [(wall_s(step, device, STEPS), wall_s(lambda: left @ right, device, PRODUCTS)) for _ in range(ROUNDS)]
    step_s, product_s = map(min, zip(*rounds, strict=True))
    rate, most = operations / step_s, 2 * side**3 / product_s
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    faces = train.batch_size
    print(
        f"gpu, {name}, {model.encoder.name} at {model.image_size} pixels, {trainer.recipe.objective.name}, {train.precision}, "
        f"{faces} faces in {train.accumulate} parts: {step_s * 1e3:,.0f} ms, {faces / step_s:,.0f} faces/s; "
        f"floor {operations / most * 1e3:,.0f} ms (its {operations / 1e12:.3g} TFLOP as products of {side} × {side}), "
        f"{rate / most:.0%} of the step; {rate / 1e12:.3g} TFLOP/s of the card's {most / 1e12:.3g}"
    )


@quick_cpu()
def main():
    """Measures on the GPU, or says that there is none."""
    given = sys.argv[1:]
    recipe = Path(given.pop(0)) if given and not given[0].startswith("--") else RECIPE
    overrides = {name.removeprefix("--"): value for name, value in zip(given[::2], given[1::2], strict=True)}
    device = overrides.pop("on", "cuda")
    if device == "cuda" and not torch.cuda.is_available():
        print("gpu, ViT-B/16 MaskFeat: no GPU here: not measured")
        return
    show(recipe, device, overrides)


if __name__ == "__main__":
    main()
