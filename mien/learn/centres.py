"""Centres of classes: a place for each among the features, which follows the faces of that class."""

import math

import torch
from torch import Tensor, nn


def first_centres(num_classes: int, width: int) -> Tensor:
    """Returns (K, D) normal numbers of deviation √(2 / K), as the official code of DACL has them."""
    return torch.randn(num_classes, width) * math.sqrt(2 / num_classes)


def moved_centres(centres: Tensor, rows: Tensor, labels: Tensor, rate: float, attention: Tensor | None = None) -> Tensor:
    """Returns (K, D) centres that moved by rate · Σ attention · (row − centre) / (1 + n), over the n rows of their class.

    Args:
        centres: (K, D).
        rows: (B, D), of all ranks.
        labels: (B,) the rows' classes.
        rate: Share of the way that many rows would move a centre.
        attention: (B, D) what each number of a row counts; null: 1.

    Source:
        Wen et al., A Discriminative Feature Learning Approach for Deep Face Recognition, ECCV 2016, eq. 4.
    """
    mine = nn.functional.one_hot(labels, len(centres)).to(centres.dtype)  # (B, K)
    pulls = rows - centres[labels]
    pulls = pulls if attention is None else attention * pulls
    return centres + rate * (mine.T @ pulls) / (1 + mine.sum(0))[:, None]
