"""Distillation: teachers say of the same view what they see; the votes have the rest."""

import torch
from torch import Tensor

from mien.errors import RecipeError
from mien.learn.batch import Batch
from mien.learn.export import read_model
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, TrainingData, cross_entropy_to


class Distillation(Objective):
    """Cross-entropy to the mean of the teachers' probabilities, mixed with each face's distribution of votes.

    The teachers are asked about the very view that the model sees, in each step, so that they can be learned from for a long
    time without being learned by heart.

    Args:
        teachers: Models with the classes and the picture size of this one, by whatever name; none: soft labels.
        share: Of the teachers in the target, in [0, 1]; the votes have the rest.
        temperature: Teachers' and the model's logits are divided by it where the two are compared; 1: as they are.

    Equation:
        L = a T² H(mean of softmax(g / T), f / T) + (1 − a) H(n / Σ_k n_k, f), a the share, g the teachers' logits, n
        the votes.

    Source:
        Hinton et al., Distilling the Knowledge in a Neural Network, 2015; teachers asked about the same view: Beyer et al.,
        Knowledge Distillation: a Good Teacher Is Patient and Consistent, CVPR 2022.
    Differs:
        The target is one mixture of distributions where the temperature is 1, not a sum of two losses: the same gradient.
    """

    learns_from = "votes"

    def __init__(self, *, teachers: tuple[str, ...] = (), share: float = 0.5, temperature: float = 1.0) -> None:
        super().__init__()
        self.teachers, self.share, self.temperature = teachers, share, temperature

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        assert data.votes is not None
        votes = data.votes[:, : len(data.classes)].float()  # (N, K)
        self.register_buffer("distribution", votes / votes.sum(1, keepdim=True))
        # In a list, so that neither checkpoints nor the optimizer hold what is read again at each start.
        self._asked = [_read_teacher(name, model, data.classes) for name in self.teachers]

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        images = batch.views["weak"]
        logits = model(images).logits  # (B, K)
        by_votes = cross_entropy_to(self.distribution[batch.index], logits)  # type: ignore[index]
        if not self._asked:
            return Loss(by_votes, logits)
        taught = self._ask(images)  # (B, K)
        by_teachers = self.temperature**2 * cross_entropy_to(taught, logits / self.temperature)
        loss = self.share * by_teachers + (1 - self.share) * by_votes
        return Loss(loss, logits, {"from_votes": by_votes.detach(), "from_teachers": by_teachers.detach()})

    @torch.no_grad()
    def _ask(self, images: Tensor) -> Tensor:
        """Returns (B, K) the mean of the teachers' probabilities."""
        probs = [(each.to(images.device)(images).logits.float() / self.temperature).softmax(1) for each in self._asked]
        return torch.stack(probs).mean(0)


def _read_teacher(name: str, model: FaceModel, classes: tuple[str, ...]) -> FaceModel:
    """Returns a teacher in evaluation mode.

    Raises:
        RecipeError: If it has other classes, or pictures of another size.
    """
    teacher, config = read_model(name)
    for what, found, expected in (
        ("the classes", config.classes, classes),
        ("pictures of size", config.image_size, model.config["image_size"]),
        ("channels", config.channels, model.config["channels"]),
    ):
        if found != expected:
            raise RecipeError(f"objective.teachers {name}: {what} {found}. Expected {expected}, as the model has.")
    return teacher.eval().requires_grad_(False)
