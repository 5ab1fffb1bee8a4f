"""The pixels of drawn faces: an expression and an individual become a small grey picture.

A face is drawn in its own frame: right and down from the middle of the head, whose half height is 1. Every shape
is a signed distance (negative inside), so that its edge is smooth at any size. Arrays hold B faces of H · W pixels as (B, HW),
and what describes a face is (B, 1). All sizes, ranges and grey levels are ours, chosen by eye.
"""

import numpy as np

from mien.classes import FERPLUS
from mien.errors import RecipeError

Numbers = dict[str, np.ndarray]  # name → (B, 1)

FACES_AT_ONCE = 16  # their arrays stay in a core's cache

# What each expression moves, in the order of `FERPLUS`; 0 everywhere is a face at rest.
MOVES = {
    #               neutral, happiness, surprise, sadness, anger, disgust, fear, contempt
    "brow_lift": (0, 0.2, 1.2, 0.1, -0.7, -0.5, 0.8, 0.0),
    "brow_slope": (0, 0.0, 0.0, 1.0, -1.0, -0.3, 0.9, 0.0),  # above 0 the inner ends go up
    "brow_uneven": (0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.7),
    "eye_open": (0, -0.2, 0.7, -0.35, 0.0, -0.5, 0.6, -0.3),
    "squint": (0, 0.8, 0.0, 0.0, 0.4, 0.6, 0.0, 0.2),  # the lower lid goes up
    "mouth_corner": (0, 1.0, 0.0, -1.0, -0.5, -0.6, -0.5, 0.0),
    "mouth_wide": (0, 0.3, -0.4, -0.2, 0.0, -0.1, 0.25, -0.1),
    "mouth_open": (0, 0.5, 1.0, 0.0, 0.15, 0.2, 0.5, 0.0),
    "upper_lip": (0, 0.0, 0.0, 0.0, 0.1, 0.9, 0.0, 0.0),
    "teeth": (0, 1.0, 0.0, 0.0, 0.9, 0.3, 0.5, 0.0),
    "smirk": (0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0),  # one corner of the mouth goes up
    "fold": (0, 0.3, 0.0, 0.1, 0.1, 0.5, 0.0, 0.0),  # from the nose to the corners of the mouth
    "furrow": (0, 0.0, 0.0, 0.2, 0.9, 0.3, 0.1, 0.0),  # between the brows
    "wrinkle": (0, 0.0, 0.0, 0.0, 0.1, 1.0, 0.0, 0.0),  # across the nose
    "forehead": (0, 0.0, 0.6, 0.1, 0.0, 0.0, 0.5, 0.0),
}
REST = {"eye_open": (0.8, 1.15), "mouth_corner": (-0.22, 0.22), "mouth_open": (0.0, 0.08)}  # habits of one's face at rest
REST |= {"brow_lift": (-0.25, 0.25), "brow_slope": (-0.22, 0.22), "mouth_wide": (-0.15, 0.15), "fold": (0.0, 0.3)}

# How individuals and their photographs differ: uniform between two numbers.
TRAITS = {
    "strength": (0.7, 1.15),  # of the expression
    "side": (-1.0, 1.0),  # its sign: where a smirk goes up
    "shift_x": (-0.12, 0.12),
    "shift_y": (-0.1, 0.1),
    "scale": (0.8, 1.05),
    "turn": (-0.26, 0.26),  # radians, ±15°
    "yaw": (-0.12, 0.12),
    "nod": (-0.06, 0.06),
    "head_wide": (0.68, 0.88),
    "jaw": (0.0, 0.4),
    "skin": (0.4, 0.95),
    "hair": (0.03, 0.75),
    "ground": (0.05, 0.95),
    "shirt": (0.05, 0.95),
    "ground_tilt": (-0.3, 0.3),
    "hairline": (-0.95, -0.6),
    "hair_curve": (0.1, 1.05),
    "hair_part": (-0.2, 0.2),
    "hair_volume": (0.02, 0.16),
    "hair_long": (-0.9, 1.1),  # how far down; above the ears it is hidden
    "hairy": (-1.0, 9.0),  # 0 or less is bald, between 0 and 1 thin, above 1 full
    "eye_apart": (0.3, 0.38),
    "eye_wide": (0.17, 0.22),
    "eye_tall": (0.1, 0.135),
    "gaze": (-0.06, 0.06),
    "iris": (0.05, 0.45),
    "brow_thick": (0.02, 0.055),
    "nose_long": (0.14, 0.24),
    "nose_wide": (0.07, 0.13),
    "mouth_down": (0.47, 0.56),
    "mouth_size": (0.26, 0.34),
    "lip_thick": (0.03, 0.07),
    "lip": (0.45, 0.8),  # times the skin
    "beard": (-3.0, 0.75),  # below 0 none
    "moustache": (-5.0, 1.0),
    "glasses": (-32.0, 8.0),
    "bar": (-12.0, 1.0),  # something in front of the face
    "bar_turn": (0.0, 3.14),
    "bar_place": (-0.6, 0.6),
    "bar_grey": (0.0, 1.0),
    "light_x": (-0.22, 0.22),
    "light_y": (-0.18, 0.12),
    "contrast": (0.7, 1.15),
    "bright": (-0.08, 0.08),
    "blur": (0.0, 0.2),
    "noise": (0.0, 0.035),
}


def draw(expressions: np.ndarray, *, seed: int = 0, size: int = 48) -> np.ndarray:
    """Returns (N, H, W) uint8 grey pictures of N individuals, row by row the same whatever N is.

    Args:
        expressions: (N, 8) shares of the expressions in the order of `FERPLUS`, each row summing to 1.
        seed: Chooses the individuals: row i of two calls with one seed shows the same person.
        size: H and W, at least 8 pixels.

    Raises:
        RecipeError: If the shares are not (N, 8) rows on the simplex, the seed is negative, or the size is below 8.
    """
    expressions = np.asarray(expressions, np.float64)
    if expressions.ndim != 2 or expressions.shape[1] != len(FERPLUS):
        raise RecipeError(f"drawn faces: expressions have shape {expressions.shape}. Expected (N, {len(FERPLUS)}).")
    if (expressions < 0).any() or not np.allclose(expressions.sum(1), 1):
        raise RecipeError("drawn faces: shares of expressions are below 0 or do not sum to 1. Divide each row by its sum.")
    if seed < 0:
        raise RecipeError(f"drawn faces: seed is {seed}. Expected 0 or more.")
    if size < 8:
        raise RecipeError(f"drawn faces: size is {size}. Expected at least 8 pixels.")
    faces = _faces(expressions, seed)
    grain = np.random.default_rng([seed, 1])
    pictures = np.empty((len(expressions), size, size), np.uint8)
    for start in range(0, len(expressions), FACES_AT_ONCE):
        some = {name: values[start : start + FACES_AT_ONCE] for name, values in faces.items()}
        pictures[start : start + FACES_AT_ONCE] = _photograph(_paint(some, size), some, size, grain)
    return pictures


def _faces(expressions: np.ndarray, seed: int) -> Numbers:
    """Returns all that describes N faces, (N, 1) each: traits, and moves at the individual's strength above its rest."""
    ranges = np.array([*TRAITS.values(), *REST.values()])  # (T, 2)
    # One generator fills row after row, so a face does not depend on how many follow.
    uniform = np.random.default_rng([seed, 0]).random((len(expressions), len(ranges)))
    drawn = (ranges[:, 0] + uniform * (ranges[:, 1] - ranges[:, 0])).astype(np.float32)
    face = {name: drawn[:, place, None] for place, name in enumerate(TRAITS)}
    rest = {name: drawn[:, len(TRAITS) + place, None] for place, name in enumerate(REST)}
    for name, moves in MOVES.items():
        moved = face["strength"] * (expressions @ np.array(moves))[:, None].astype(np.float32)
        face[name] = rest.get(name, 0) + moved
    face["side"] = np.sign(face["side"])
    return face


class _Sheet:
    """A batch of pictures under the brush: places `right`, `down` and `grey` in 0…1 are (B, HW), the softness `edge` (B, 1)."""

    def __init__(self, face: Numbers, size: int) -> None:
        right, down = _frame(size)
        self.grey: np.ndarray = face["ground"] + face["ground_tilt"] * right
        right, down = right - face["shift_x"], down - face["shift_y"]  # (B, HW)
        cosine, sine = np.cos(face["turn"]) / face["scale"], np.sin(face["turn"]) / face["scale"]
        self.right, self.down = cosine * right + sine * down, cosine * down - sine * right
        self.edge = face["scale"] * size / 2  # pixels in a unit of the face

    def paint(self, distance: np.ndarray, grey: np.ndarray | float, strength: np.ndarray | float = 1.0) -> None:
        """Lays `grey` over the inside of a shape; `strength` 0 or less leaves the picture as it is, 1 hides what was there."""
        layer = distance * -self.edge  # from here on in place: the time goes into moving arrays
        layer += 0.5
        np.maximum(layer, 0, out=layer)
        np.minimum(layer, np.clip(np.float32(strength), 0, 1), out=layer)
        layer *= grey - self.grey
        self.grey += layer


def _paint(face: Numbers, size: int) -> np.ndarray:
    """Returns (B, HW) grey levels of clean drawings."""
    sheet = _Sheet(face, size)
    _paint_head(sheet, face)
    # Looking aside moves what is in the face, not its outline.
    sheet.right -= face["yaw"]
    sheet.down -= face["nod"]
    _paint_lines(sheet, face)
    _paint_mouth(sheet, face)
    _paint_eyes(sheet, face)
    return sheet.grey


def _paint_head(sheet: _Sheet, face: Numbers) -> None:
    """Paints shoulders, hair, ears, skin and beard."""
    right, down, skin, hair = sheet.right, sheet.down, face["skin"], face["hair"]
    side, wide = np.abs(right), face["head_wide"]
    square = down * down
    behind = np.maximum(side - wide - face["hair_volume"] - 0.04 + 0.3 * square, down - face["hair_long"])
    sheet.paint(behind, hair * 0.9, face["hairy"])
    sheet.paint(np.maximum(side - 0.6 * wide, 0.5 - down), skin * 0.75)
    sheet.paint(1.1 + 0.25 * side * side - down, face["shirt"])
    sheet.paint(np.maximum(np.abs(side - wide) - 0.09, np.abs(down + 0.03) - 0.17), skin * 0.85)
    radius = np.sqrt((right / (wide - face["jaw"] * wide * np.maximum(down, 0) ** 2)) ** 2 + square)  # 1 on the outline
    outline = (radius - 1) * wide
    sheet.paint(outline, skin * (1.04 - 0.2 * radius * radius))
    sheet.paint(np.maximum(outline, 0.55 - 0.7 * side * side - down), hair * 0.8, face["beard"])
    fringe = face["hairline"] + face["hair_part"] * right + face["hair_curve"] * right * right
    sheet.paint(np.maximum(outline - face["hair_volume"], down - fringe), hair, face["hairy"])


def _paint_lines(sheet: _Sheet, face: Numbers) -> None:
    """Paints the nose and the lines that an expression draws into the skin."""
    down, side, dark = sheet.down, np.abs(sheet.right), face["skin"] * 0.45
    tip = face["nose_long"]
    sheet.paint(np.maximum(side - 0.03 - face["nose_wide"] * (down + 0.1), np.abs(down) - tip), face["skin"] * 0.8, 0.6)
    sheet.paint(np.maximum(side - face["nose_wide"], np.abs(down - tip) - 0.025), dark, 0.9)
    sheet.paint(np.maximum(np.abs(side - 0.12 - 0.5 * (down - 0.1)) - 0.025, np.abs(down - 0.33) - 0.1), dark, face["fold"])
    sheet.paint(np.maximum(np.abs(side - 0.06) - 0.025, np.abs(down + 0.36) - 0.1), dark, face["furrow"])
    sheet.paint(np.maximum(side - 0.13, np.abs(np.abs(down + 0.06) - 0.075) - 0.03), dark, face["wrinkle"])
    sheet.paint(np.maximum(side - 0.33, np.abs(np.abs(down + 0.6) - 0.07) - 0.02), dark, face["forehead"] * 0.8)


def _paint_mouth(sheet: _Sheet, face: Numbers) -> None:
    """Paints lips between two parabolas, and what is seen between them."""
    half = face["mouth_size"] * (1 + face["mouth_wide"])
    across = sheet.right / half  # -1…1 from corner to corner
    bow = across * across
    smirk = np.maximum(across * face["side"], 0)
    # Height above the middle line, which the corners bend.
    below = sheet.down - face["mouth_down"] + 0.2 * face["mouth_corner"] * (bow - 0.4) + 0.22 * face["smirk"] * smirk * smirk
    sheet.paint(np.maximum(np.abs(below + 0.14) - 0.045, np.abs(sheet.right) - 0.25), face["hair"] * 0.8, face["moustache"])
    opening = 1 - bow * bow
    upper = below + (0.07 * face["mouth_open"] + 0.13 * face["upper_lip"]) * opening
    lower = below - 0.24 * face["mouth_open"] * opening
    inside = np.maximum(np.maximum(-upper, lower), (np.abs(across) - 1) * half)
    dark = face["skin"] * 0.15
    sheet.paint(inside - face["lip_thick"], face["skin"] * face["lip"])
    sheet.paint(inside - 0.022, dark)
    sheet.paint(np.maximum(inside, upper - 0.09), 0.95, face["teeth"])


def _paint_eyes(sheet: _Sheet, face: Numbers) -> None:
    """Paints eyes between two lids, brows, and the glasses of some."""
    right, hair = sheet.right, face["hair"]
    away = np.abs(right) - face["eye_apart"]  # from the middle of the eye, above 0 outwards
    below = sheet.down + 0.12
    bow = 1 - (away / face["eye_wide"]) ** 2
    tall = face["eye_tall"] * np.maximum(face["eye_open"], 0.15)
    lids = np.maximum(-below - tall * bow, below - tall * (0.9 - 0.75 * np.clip(face["squint"], 0, 1)) * bow)
    sheet.paint(np.abs(lids) - 0.03, face["skin"] * 0.25)
    sheet.paint(lids, 0.97)
    seen = right - face["gaze"]
    round_iris = np.sqrt((np.abs(seen) - face["eye_apart"]) ** 2 + (below - 0.01) ** 2) - 0.075
    sheet.paint(np.maximum(round_iris, lids), face["iris"] * 0.5)

    lift = 0.13 * face["brow_lift"] + 0.16 * face["brow_uneven"] * (right * face["side"] > 0)
    line = below + 0.24 + lift - 0.5 * face["brow_slope"] * away + 0.8 * away * away
    brow = np.maximum(np.abs(line) - face["brow_thick"], np.abs(away) - 0.2)
    sheet.paint(brow, np.minimum(hair, face["skin"] * 0.6) * 0.8)

    ring = np.abs(np.sqrt(away**2 + (1.15 * below) ** 2) - 0.25) - 0.022
    bridge = np.maximum(np.abs(below) - 0.022, np.abs(right) - face["eye_apart"] + 0.25)
    sheet.paint(np.minimum(ring, bridge), 0.08, face["glasses"])


def _photograph(grey: np.ndarray, face: Numbers, size: int, grain: np.random.Generator) -> np.ndarray:
    """Returns (B, H, W) uint8: drawings with light, contrast, blur, noise and, before some, a bar."""
    right, down = _frame(size)
    for row in np.flatnonzero(face["bar"] > 0):
        turn = face["bar_turn"][row]
        grey[row, np.abs(np.cos(turn) * right + np.sin(turn) * down - face["bar_place"][row]) < 0.12] = face["bar_grey"][row]
    grey -= 0.5
    grey *= face["contrast"]
    grey += face["light_x"] * right + (0.5 + face["bright"])
    grey += face["light_y"] * down
    picture: np.ndarray = grey.reshape(-1, size, size)
    share = face["blur"][:, :, None]
    for near in (picture, picture.swapaxes(1, 2)):  # each pixel takes a share of its neighbours, down and then across
        second = np.diff(near, 2, axis=1)
        second *= share
        near[:, 1:-1] += second
    picture += face["noise"][:, :, None] * grain.standard_normal(picture.shape, np.float32)
    np.clip(picture, 0, 1, out=picture)
    picture *= 255
    np.rint(picture, out=picture)
    return picture.astype(np.uint8)


def _frame(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (HW,) and (HW,): how far right and down each pixel's middle lies in a picture from -1 to 1."""
    ticks = (2 * np.arange(size, dtype=np.float32) + 1) / size - 1
    return np.tile(ticks, size), np.repeat(ticks, size)
