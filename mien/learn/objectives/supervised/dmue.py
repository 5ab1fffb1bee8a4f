"""DMUE: a branch that does not know a class tells what else its faces look like, and a face counts as its neighbours agree."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.learn.batch import Batch
from mien.learn.model import FaceModel
from mien.learn.momentum import cosines, unit_rows
from mien.learn.objective import Loss, Objective, Progress, TrainingData, cross_entropy_to
from mien.learn.transformer import Block, initialise


class LatentDistributions(Objective):
    """w_u (cross-entropy + ω · latent distributions + γ · similarities) + w_d · cross-entropy of the branches.

    Each class has a branch that learns all others. What it says of its own class's faces is their latent distribution, which
    the model is to match outside their label by squared error; and faces are to resemble each other as the branches have it.
    The cross-entropy is on logits times a confidence, read from a face's mean cosine to each class of the batch and its label.
    w_u rises as exp(−5 (1 − e / a)²) until epoch a, w_d falls as exp(−(1 − a / e)²) after it.

    Args:
        temperature: T that softens latent distributions.
        latent_weight: ω.
        similarity_weight: γ.
        ramp_epochs: a; the paper has 10 to 14 on FERPlus, 9 to 10 on RAF-DB, 4 to 6 on AffectNet.

    Equation:
        L = w_u (H(y, s f) + ω mean ((1 − y) p − q)² + γ mean_b ‖G_b − G‖²) + w_d mean_b H(y, f_b), where q is the
        softmax of f_b / T of the label's own branch b, s the confidence, and G holds the products of the batch's
        features, rows of length 1.

    Source:
        She et al., Dive into Ambiguity: Latent Distribution Mining and Pairwise Uncertainty Estimation for Facial Expression
        Recognition, CVPR 2021; numbers of its code.
    Differs:
        A branch is a transformer block upon the encoder's last tokens, where it was a copy of a network's last stage.
        Similarities are those of features; the official code takes a branch's from its logits. A class without a face in the
        batch has cosine 0, where the official code leaves out the batch: sampler class_balanced avoids it. Dropout is the
        head's. Confidence and branches are thrown away after training, as the official code does.
    Costs:
        A transformer block for each class, with all faces through each.
    """

    learns_from = "label"
    couples_batch = True

    def __init__(
        self,
        *,
        temperature: float = 1.2,
        latent_weight: float = 0.5,
        similarity_weight: float = 1000.0,
        ramp_epochs: int = 10,
    ) -> None:
        super().__init__()
        self.temperature, self.latent_weight = temperature, latent_weight
        self.similarity_weight, self.ramp_epochs = similarity_weight, ramp_epochs

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        num_classes, width = len(data.classes), model.encoder.width
        self.branches = nn.ModuleList(_Branch(width, num_classes) for _ in data.classes)
        self.confidence = nn.Sequential(nn.Linear(2 * num_classes, num_classes), nn.PReLU(), nn.Linear(num_classes, 1))

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        assert model.head is not None and batch.targets is not None
        features, targets = model.encode(batch.views["weak"]), batch.targets
        logits = model.head(features).logits  # (B, K)
        seen = [branch(features.tokens) for branch in self.branches]
        rows, told = (torch.stack([each[part] for each in seen], 1).float() for part in (0, 1))  # (B, K, D), (B, K, K)
        unknown = torch.eye(len(seen), dtype=torch.bool, device=told.device)
        told = told.masked_fill(unknown, -torch.inf)  # branch k does not know class k
        branching = branch_loss(told, targets)
        latent = (told.detach()[targets.bool()] / self.temperature).softmax(1)  # (B, K), 0 for the label
        mining = F.mse_loss(logits.float().softmax(1) * (1 - targets), latent)
        alike = similarity_loss(rows, features.pooled.float(), 1 - targets)
        confidence = self.confidence(class_similarities(features.pooled, targets)).float().sigmoid()  # (B, 1)
        labelling = cross_entropy_to(targets, confidence * logits)
        up, down = ramps(progress.epoch, self.ramp_epochs)
        main = labelling + self.latent_weight * mining + self.similarity_weight * alike
        names, terms = ("labelling", "latent", "similarity", "branches"), (labelling, mining, alike, branching)
        parts: dict[str, float | Tensor] = {name: term.detach() for name, term in zip(names, terms, strict=True)}
        parts["confidence"] = confidence.detach().mean()
        return Loss(up * main + down * branching, logits, parts)


class _Branch(nn.Module):
    """Returns (B, D) features and (B, K) logits of its own reading of the encoder's tokens."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.block = Block(width, heads=math.gcd(width, 4))  # not stated; ours
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.classify = nn.Linear(width, num_classes)
        self.apply(initialise)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        row = self.norm(self.block(tokens)).mean(1)
        return row, self.classify(row)


def ramps(epoch: int, middle: int) -> tuple[float, float]:
    """Returns w_u, which rises to 1 until the epoch `middle`, and w_d, which falls from 1 after it."""
    up = math.exp(-5 * (1 - epoch / middle) ** 2) if epoch < middle else 1.0
    return up, math.exp(-((1 - middle / epoch) ** 2)) if epoch > middle else 1.0


def branch_loss(told: Tensor, targets: Tensor) -> Tensor:
    """Returns () the mean over branches of the cross-entropy on the faces whose class they know.

    Args:
        told: (B, K, K) logits of each branch, −∞ for its own class.
        targets: (B, K) one-hot.
    """
    log_probs = told.log_softmax(2)[targets.bool()[:, None].expand_as(told)].reshape_as(targets)  # (B, K): of the label
    errors = -log_probs.masked_fill(targets.bool(), 0)
    return (errors.sum(0) / (1 - targets).sum(0).clamp(min=1)).mean()


def similarity_loss(rows: Tensor, main: Tensor, others: Tensor) -> Tensor:
    """Returns () the mean squared difference of Gram matrices, whose rows have length 1, of each branch and of the model.

    Args:
        rows: (B, K, D) float32, the branches' features.
        main: (B, D) float32, the model's.
        others: (B, K), 1 where a branch knows a face's class: these alone are compared.
    """
    with torch.autocast(rows.device.type, enabled=False):  # the weight multiplies its errors
        pairs = others.T[:, :, None] * others.T[:, None]  # (K, B, B)
        by_branch = rows.transpose(0, 1) @ rows.permute(1, 2, 0)  # (K, B, B)
        apart = F.normalize(by_branch * pairs, dim=2) - F.normalize(main @ main.T * pairs, dim=2)
        return (apart.square().sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1)).mean()


def class_similarities(rows: Tensor, targets: Tensor) -> Tensor:
    """Returns (B, 2 K): each face's mean cosine to the batch's faces of each class, from 0 to 1, and its label."""
    units = unit_rows(rows)
    means = cosines(units, units) @ targets / targets.sum(0).clamp(min=1)  # (B, K)
    lowest, highest = means.amin(1, keepdim=True), means.amax(1, keepdim=True)
    return torch.cat([(means - lowest) / (highest - lowest).clamp(min=1e-6), targets], 1)
