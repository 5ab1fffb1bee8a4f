"""LA-Net: a label is softened by what the model says of faces that look alike and whose landmarks lie alike."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mien.learn.batch import Batch
from mien.learn.contrast import projector
from mien.learn.model import FaceModel
from mien.learn.momentum import cosines, unit_rows
from mien.learn.objective import Loss, Objective, Progress, TrainingData, cross_entropy_to


class LandmarkAware(Objective):
    """Cross-entropy to (1 − α) · label + α · what the model says of a face's neighbours, and λ times a contrastive loss.

    Neighbours are those of the batch that are most like the face, in features and in landmarks: the mean of both cosines.
    Their probabilities are weighed by a softmax over these. The contrastive loss has each face's features and landmarks find
    each other among those of the batch. Features are the pooled ones, on a vision transformer the mean of the tokens, through a
    projector; landmarks are the view's points around their middle, over their mean distance to it, through another.

    Faces without points have neighbours by their features alone and no part in the contrastive loss; a table in which no face
    has points is refused. Nothing of landmarks is needed at inference.

    Args:
        share: α. 0.5: not stated; ours.
        neighbours: Of each face, in the batch. 8: not stated; ours.
        contrast_weight: λ. 0.1: not stated; ours.
        temperature: Divides the cosines. 0.1: not stated; ours.
        width: Numbers of a projected face and of its landmarks. 128: not stated; ours.

    Equation:
        L = H((1 − α) y + α Σ_j s_j p_j, f) + λ · contrast of features and landmarks, j a face's neighbours, s the
        softmax of their likeness / τ.

    Source:
        Wu and Cui, LA-Net: Landmark-Aware Learning for Reliable Facial Expression Recognition under Label Noise, ICCV 2023.
    Differs:
        Read from the abstract, there is no official code: the form of both parts is ours. Landmarks are five or 68 points of
        the table, whoever or whatever found them.
    """

    learns_from = "label"
    couples_batch = True

    def __init__(
        self,
        *,
        share: float = 0.5,
        neighbours: int = 8,
        contrast_weight: float = 0.1,
        temperature: float = 0.1,
        width: int = 128,
    ) -> None:
        super().__init__()
        self.share, self.neighbours, self.contrast_weight = share, neighbours, contrast_weight
        self.temperature, self.width = temperature, width

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"points"})

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        assert data.points is not None
        self.project = projector(model.encoder.width, self.width)
        self.read_landmarks = projector(2 * data.points.shape[1], self.width)

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        assert model.head is not None and batch.targets is not None and batch.points is not None
        features = model.encode(batch.views["weak"])
        logits = model.head(features).logits  # (B, K)
        shapes, known = shapes_of(batch.points["weak"].float())
        faces = unit_rows(self.project(features.pooled))
        landmarks = unit_rows(self.read_landmarks(shapes))
        alike = cosines(faces, faces).detach()  # (B, B)
        both = known[:, None] & known
        alike = torch.where(both, (alike + cosines(landmarks, landmarks).detach()) / 2, alike)
        told = told_by_neighbours(alike, logits.detach().float().softmax(1), self.neighbours, self.temperature)
        labelling = cross_entropy_to((1 - self.share) * batch.targets + self.share * told, logits)
        pairing = pairs_found(faces[known], landmarks[known], self.temperature)
        parts: dict[str, float | Tensor] = {"labelling": labelling.detach(), "pairing": pairing.detach()}
        return Loss(labelling + self.contrast_weight * pairing, logits, parts)


def shapes_of(points: Tensor) -> tuple[Tensor, Tensor]:
    """Returns (B, 2 P) points around their middle over their mean distance to it, 0 without points, and (B,) who has any."""
    known = points.isfinite().all(2).all(1)
    around = points - points.mean(1, keepdim=True)
    shapes = around / around.norm(dim=2).mean(1).clamp(min=1e-6)[:, None, None]
    return torch.where(known[:, None], shapes.flatten(1), 0.0), known


def told_by_neighbours(alike: Tensor, probs: Tensor, count: int, temperature: float) -> Tensor:
    """Returns (B, K) the mean of the `count` most alike others' probabilities, weighed by softmax(alike / temperature).

    A face alone in its batch tells itself.
    """
    if len(alike) == 1:
        return probs
    itself = torch.eye(len(alike), dtype=torch.bool, device=alike.device)
    closest, places = alike.masked_fill(itself, -torch.inf).topk(min(count, len(alike) - 1))  # (B, count)
    return ((closest / temperature).softmax(1)[:, :, None] * probs[places]).sum(1)  # a product would be in half precision


def pairs_found(faces: Tensor, landmarks: Tensor, temperature: float) -> Tensor:
    """Returns () the mean cross-entropy of a face finding its landmarks among all, and they it; both (M, D) of length 1.

    0 where there is no face.
    """
    if not len(faces):
        return faces.sum() + landmarks.sum()
    logits, own = cosines(faces, landmarks) / temperature, torch.arange(len(faces), device=faces.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
