"""Track: which faces of a film follow each other, told by where they are and by nothing else."""

import numpy as np

LEAST_OVERLAP, FORGOTTEN_S = 0.3, 1.0  # not stated; ours: a face that looks away for a moment comes back to its track


class Tracker:
    """Numbers the faces of a film, from 1: a face whose box overlaps one that was there just before has its number.

    Pairs are made in the order of their overlap, largest first. A number says that a box moved on, not who is seen: whoever
    leaves the picture comes back under another number, and two who pass in front of each other may exchange theirs.

    Args:
        least_overlap: Intersection over union, in (0, 1], from which on two boxes may be one face.
        forgotten_s: For so long after the last frame with it a face keeps its number; in any case up to the next frame.
    """

    def __init__(self, *, least_overlap: float = LEAST_OVERLAP, forgotten_s: float = FORGOTTEN_S) -> None:
        self.least_overlap, self.forgotten_s = least_overlap, forgotten_s
        self.seen: dict[int, tuple[float, np.ndarray]] = {}  # by number: when and where last
        self.highest = 0

    def follow(self, time_s: float, boxes: np.ndarray) -> np.ndarray:
        """Returns (F,) the numbers of a frame's (F, 4) boxes."""
        known = list(self.seen)
        shares = overlaps(np.array([box for _, box in self.seen.values()]).reshape(-1, 4), boxes)  # (T, F)
        numbers = np.zeros(len(boxes), np.int64)
        while shares.size and shares.max() >= self.least_overlap:
            row, face = np.unravel_index(shares.argmax(), shares.shape)
            numbers[face] = known[row]
            shares[row], shares[:, face] = 0, 0
        new = numbers == 0
        numbers[new] = self.highest + 1 + np.arange(new.sum())
        self.remember(time_s, boxes, numbers)
        return numbers

    def remember(self, time_s: float, boxes: np.ndarray, numbers: np.ndarray) -> None:
        """Takes note of a frame's (F, 4) boxes and their (F,) numbers, and forgets what is too long ago."""
        for box, number in zip(boxes, numbers.tolist(), strict=True):
            self.seen[number] = time_s, box
            self.highest = max(self.highest, number)
        self.seen = {
            number: (last_s, box) for number, (last_s, box) in self.seen.items() if last_s >= time_s - self.forgotten_s
        }


def overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns (T, F) intersection over union of each of (T, 4) with each of (F, 4) boxes; 0 where both are empty."""
    sides = np.minimum(one[:, None, 2:], other[None, :, 2:]) - np.maximum(one[:, None, :2], other[None, :, :2])
    shared = np.maximum(sides, 0).prod(2)
    areas = [np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(1) for boxes in (one, other)]
    whole = areas[0][:, None] + areas[1][None] - shared
    return np.asarray(np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0))
