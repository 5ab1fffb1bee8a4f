"""What contrastive objectives share: a projector, a loss with given positives, a queue, and prototypes."""

import torch
from torch import Tensor, nn

from mien.learn.gather import gather_rows
from mien.learn.momentum import cosines
from mien.learn.randomness import uniform


def projector(width: int, outside: int) -> nn.Sequential:
    """Returns a map (B, D) to (B, D_out) of two layers, the first as wide as its input (PiCO's "mlp" head)."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outside))


def contrast(queries: Tensor, others: Tensor, positives: Tensor, temperature: float) -> Tensor:
    """Returns () the mean over queries of −Σ_j positives_j · log softmax(cosines / temperature)_j, without oneself.

    Args:
        queries: (B, D) of length 1; each is compared with all others of them too.
        others: (M, D) of length 1.
        positives: (B, B + M) shares of the target; what stands on the diagonal counts for nothing.
        temperature: Divides the cosines.
    """
    logits = cosines(queries, torch.cat([queries, others])) / temperature  # (B, B + M)
    itself = torch.eye(*logits.shape, dtype=torch.bool, device=logits.device)
    log_probs = logits.masked_fill(itself, -torch.inf).log_softmax(1).masked_fill(itself, 0)
    return -(positives * log_probs).sum(1).mean()


def found_among(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Returns () the cross-entropy of finding each query's own key, of (B, D), among it and those of a queue (M, D)."""
    own = (queries * keys).sum(1, keepdim=True)
    logits = torch.cat([own, cosines(queries, queue)], 1) / temperature  # (B, 1 + M)
    return (logits.logsumexp(1) - logits[:, 0]).mean()


class Queue(nn.Module):
    """The last rows of all ranks, in the checkpoint and equal on all ranks; the oldest is at `place`.

    Args:
        rows: (M, …) what it holds before others come.
    """

    rows: Tensor
    place: Tensor

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows)
        self.register_buffer("place", torch.tensor(0))

    @torch.no_grad()
    def write(self, rows: Tensor) -> None:
        """Replaces the oldest rows by this rank's and those of the others."""
        rows = gather_rows(rows)[-len(self.rows) :].to(self.rows.dtype)
        places = (self.place + torch.arange(len(rows), device=rows.device)) % len(self.rows)
        self.rows[places] = rows
        self.place.add_(len(rows)).remainder_(len(self.rows))


def moved_prototypes(prototypes: Tensor, rows: Tensor, labels: Tensor, momentum: float) -> Tensor:
    """Returns (K, D) prototypes of length 1 after each row, in turn, has drawn that of its label towards itself.

    Args:
        prototypes: (K, D) μ, which a row of class c moves to momentum · μ_c + (1 − momentum) · row.
        rows: (B, D) of length 1.
        labels: (B,) the rows' classes.
        momentum: Share of itself that a prototype keeps.
    """
    mine = nn.functional.one_hot(labels, len(prototypes)).to(prototypes.dtype)  # (B, K)
    later = mine.flip(0).cumsum(0).flip(0) - mine  # how many rows of the class are still to come
    pulls = mine * (1 - momentum) * momentum**later
    return nn.functional.normalize(momentum ** mine.sum(0)[:, None] * prototypes + pulls.T @ rows, dim=1)


def mixing(keys: Tensor, stream: str, concentration: int) -> tuple[Tensor, Tensor]:
    """Returns (B,) each row's share in its mixture and (B,) the row that it is mixed with, drawn from the rows' keys.

    Shares follow Beta(a, a), a the concentration: the middle one of 2 a − 1 uniform numbers.
    """
    shares = uniform(keys, f"{stream} share", 2 * concentration - 1).median(1).values
    return shares, uniform(keys, f"{stream} partner").argsort(stable=True)
