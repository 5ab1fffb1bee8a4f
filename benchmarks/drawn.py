"""Prints one line: drawn faces a second with their PNG files and votes, and the floor that moving the pixels sets."""

import numpy as np
from machine import best_times_s

from mien.data.readers import drawn
from mien.data.readers.drawing import FACES_AT_ONCE, draw

FACES = 4000
SIZE = 48
PASSES = 368  # array operations over all pixels of a face in `draw`, counted with an ndarray that counts its ufuncs


def move_pixels():
    """Multiplies as many arrays of the same size as drawing does, with nothing else around it."""
    left, right = np.ones((2, FACES_AT_ONCE, SIZE * SIZE), np.float32)
    out = np.empty_like(left)
    for _ in range(PASSES * FACES // FACES_AT_ONCE):
        np.multiply(left, right, out=out)


def main():
    """Times the whole table, the drawing alone and the floor in one run."""
    expressions = np.eye(8)[np.arange(FACES) % 8]
    works = (lambda: drawn.read(faces=FACES, size=SIZE), lambda: draw(expressions, size=SIZE), move_pixels)
    table_s, draw_s, floor_s = best_times_s(*works, repeats=3)
    print(
        f"drawn: {FACES / table_s:,.0f} faces/s as a table, {FACES / draw_s:,.0f} faces/s drawing alone; "
        f"floor {FACES / floor_s:,.0f} faces/s ({PASSES} plain array passes a face), drawing takes {draw_s / floor_s:.1f} × it"
    )


if __name__ == "__main__":
    main()
