import pytest
import torch
from torch import nn

from mien.learn.model import Features
from mien.learn.momentum import MomentumCopy, cosines, unit_rows


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, pixels):
        return Features(pixels[:, None], None, self.norm(pixels))


def parts():
    torch.manual_seed(0)
    return Encoder(), nn.Linear(3, 2)


def test_a_copy_starts_equal_and_no_gradient_reaches_it():
    encoder, projector = parts()
    pixels = torch.randn(5, 3, requires_grad=True)
    found = MomentumCopy(encoder, projector)(pixels)
    torch.testing.assert_close(found, projector(encoder(pixels).pooled))
    assert not found.requires_grad


@pytest.mark.parametrize(("step", "share"), [(0, 0.1), (2, 0.25), (1000, 0.75)])
def test_weights_follow_by_the_momentum_and_running_statistics_sooner_at_first(step, share):
    encoder, projector = parts()
    copy = MomentumCopy(encoder, projector)
    before = {name: value.clone() for name, value in copy.state_dict().items()}
    encoder(5 + torch.randn(5, 3))
    nn.init.normal_(projector.weight)
    copy.follow(encoder, projector, 0.75, step)
    for name, present in nn.ModuleDict({"encoder": encoder, "projector": projector}).state_dict().items():
        kept = share if "running" in name else 0.75
        expected = kept * before[name] + (1 - kept) * present if present.is_floating_point() else present
        torch.testing.assert_close(copy.state_dict()[name], expected)
    assert encoder.norm.running_mean.abs().sum() > 0.1 and copy.encoder.norm.num_batches_tracked == 1


def test_micro_batches_of_one_step_move_it_once():
    encoder, projector = parts()
    copy, start = MomentumCopy(encoder, projector), projector.weight.detach().clone()
    nn.init.zeros_(projector.weight)
    for step in (0, 0, 0, 1):
        copy.follow(encoder, projector, 0.5, step)
    torch.testing.assert_close(copy.projector.weight, start / 4)


def test_cosines_are_of_full_precision_in_a_mixed_one():
    first, second = unit_rows(torch.randn(4, 64).bfloat16()), unit_rows(torch.randn(6, 64))
    expected = first @ second.T
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(cosines(first, second), expected)
    assert first.dtype == torch.float32
