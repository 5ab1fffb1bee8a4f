import torch

from mien.learn.heads.weighted import Weighted
from mien.learn.model import Features


def test_an_unimportant_face_is_told_with_less_certainty_but_as_the_same_class():
    torch.manual_seed(0)
    head, pooled = Weighted(width=6, num_classes=3), torch.randn(5, 6)
    found = head(Features(pooled[:, None] * 9, None, pooled))
    importance = 1 / (1 + torch.exp(-(pooled @ head.weigh.weight.T + head.weigh.bias)))
    plain = pooled @ head.classify.weight.T + head.classify.bias
    torch.testing.assert_close(found.branches["importance"], importance)
    torch.testing.assert_close(found.logits, importance * plain)
    assert (found.logits.softmax(1).amax(1) < plain.softmax(1).amax(1)).all()
    assert found.logits.argmax(1).tolist() == plain.argmax(1).tolist()
