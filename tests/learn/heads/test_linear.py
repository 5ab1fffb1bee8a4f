import torch

from mien.learn.heads.linear import Linear
from mien.learn.model import Features


def test_logits_are_a_linear_map_of_the_pooled_features():
    head = Linear(width=6, num_classes=3).eval()
    with torch.no_grad():
        head.classify.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    pooled = torch.randn(2, 6, generator=torch.manual_seed(0))
    expected = pooled @ head.classify.weight.T + torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(head(Features(pooled[:, None] * 9, None, pooled)).logits, expected)
