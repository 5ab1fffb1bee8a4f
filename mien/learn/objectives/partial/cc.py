"""CC: the probability of the whole candidate set, whoever of it has it."""

import torch

from mien.learn.batch import Batch
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress


class ClassifierConsistent(Objective):
    """Minus the logarithm of the probability that the model gives to the candidate set as a whole.

    Equation:
        L = −log Σ_{k∈S} p_k.

    Source:
        Feng et al., Provably Consistent Partial-Label Learning, NeurIPS 2020 (CC).
    Differs:
        Computed from logits, where the official code takes the logarithm of a sum that can be zero.
    """

    learns_from = "candidates"

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        assert batch.targets is not None
        logits = model(batch.views["weak"]).logits  # (B, K)
        inside = logits.float().masked_fill(batch.targets == 0, -torch.inf)
        return Loss((logits.float().logsumexp(1) - inside.logsumexp(1)).mean(), logits)
