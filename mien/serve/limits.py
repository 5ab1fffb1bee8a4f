"""Limits: how much a server takes on, one request and all together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from mien.errors import RecipeError
from mien.serve.problem import Problem


@dataclass(frozen=True)
class Limits:
    """How much a server takes on; all defaults are ours, not stated anywhere.

    Attributes:
        places: Requests that are read, wait or are answered at once; one more is refused with 429.
        max_bytes: Of one request's body; `places` such bodies are the most that is held in memory.
        max_files: Of one request.
        max_pixels: Of all pictures of one request, before they are decoded.
        max_faces: Of all pictures of one request, before they are classified.
        timeout_s: For a body to arrive, and again for its answer.
    """

    places: int = 128
    max_bytes: int = 16_000_000
    max_files: int = 64
    max_pixels: int = 50_000_000
    max_faces: int = 200
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                raise RecipeError(f"serve: {name} is {value}. Expected more than 0.")


class Room:
    """Counts who is inside; it is entered and left in the event loop alone."""

    def __init__(self, places: int) -> None:
        self.places, self.taken = places, 0

    @property
    def full(self) -> bool:
        """Whether the next one would be refused."""
        return self.taken >= self.places

    @contextmanager
    def place(self) -> Iterator[None]:
        """Holds a place until the block ends, however it ends.

        Raises:
            Problem: 429, if there is none.
        """
        if self.full:
            detail = f"{self.places} requests are under way. Try again in a second."
            raise Problem(429, detail, headers={"Retry-After": "1"})
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
