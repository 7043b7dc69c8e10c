"""Truncation: part of the person is outside the frame."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from corruptions._base import Affine, Card, Corrupted, Image, Params, beside, checked, level

Edge = Literal["bottom", "top", "left", "right"]
EDGES: dict[Edge, float] = {"bottom": 0.4, "top": 0.2, "left": 0.2, "right": 0.2}
"""The edge beyond which the person leaves, and how often: feet and legs are what a frame cuts off most."""
SIDEWAYS = 0.08
"""How far the picture may move along that edge too, either way, as a share of the side."""
MARGIN = 0.05
"""Room beside the person on the side that stays in a crop, as a share of the picture."""
MOST_ZOOM = 32.0

CARD = Card(
    name="truncation",
    version="1",
    summary="The camera points beside the person, so that a stated share of the person is outside the frame.",
    reference="ours",
    extra={
        "family": "phone",
        "stochastic": True,
        "levels": "ours",
        "formula": "y(p) = x(p - k e), the least k with |sum of mask outside / sum of mask - share| at its minimum",
        "severities": {s: {"share": share} for s, share in enumerate((0.1, 0.2, 0.35, 0.5, 0.65), 1)},
        "deviations": [
            "the edge is drawn: bottom 0.4, top, left and right 0.2 each; and a shift along it, up to 0.08 of the side",
            "the picture moves by whole pixels, so that what stays is untouched; mode='crop' enlarges a part instead",
            "what comes in from outside is the edge of the picture, blurred along it by half the distance",
            "without a mask the share is that of the picture",
        ],
    },
)


def shift_for(mask: NDArray[Any], share: float, edge: Edge, sideways: int = 0) -> int:
    """Return by how many pixels a picture must move so that a share of the mask leaves it, mostly by an edge.

    Args:
        mask: (H, W), >= 0, not all zero.
        share: In [0, 1).
        edge: Where it leaves.
        sideways: Pixels by which the picture moves along the edge too; right or down is positive.

    Returns:
        Whole pixels, from 0 to one less than the side.
    """
    upright = np.asarray(mask, np.float64) if edge in ("top", "bottom") else np.asarray(mask, np.float64).T
    across = upright.shape[1]
    along = upright[:, max(0, -sideways) : across - max(0, sideways)].sum(axis=1)
    if edge in ("bottom", "right"):
        along = along[::-1]
    kept = along.sum() - np.concatenate([[0.0], np.cumsum(along)[:-1]])
    return int(np.argmin(np.abs(1 - kept / upright.sum() - share)))


def shift_affine(pixels: int, edge: Edge, sideways: int = 0) -> Affine:
    """Return the (2, 3) map from old to new pixels of a picture that moves towards an edge and along it."""
    x, y = {
        "bottom": (sideways, pixels),
        "top": (sideways, -pixels),
        "left": (-pixels, sideways),
        "right": (pixels, sideways),
    }[edge]
    return np.array([[1, 0, x], [0, 1, y]], np.float64)


def crop_affine(mask: NDArray[Any], share: float, edge: Edge, sideways: float = 0.0) -> Affine:
    """Return the (2, 3) map from old to new pixels of an enlarged part of the picture.

    The part has the picture's proportions and lies inside it. It keeps the side of the person opposite to the edge,
    and shrinks until the share of the mask is outside.

    Args:
        mask: (H, W), >= 0, not all zero.
        share: In [0, 1).
        edge: Where most of it leaves.
        sideways: How far the part lies beside the person's middle, as a share of its own side.
    """
    mask = np.asarray(mask, np.float64)
    sides = np.array(mask.shape)
    sums = np.pad(mask.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    lines = [mask.sum(axis=1), mask.sum(axis=0)]
    axis = 0 if edge in ("top", "bottom") else 1
    first, last = (float(end) for end in np.flatnonzero(lines[axis])[[0, -1]])
    across = float(np.average(np.arange(sides[1 - axis]) + 0.5, weights=lines[1 - axis]))
    room = MARGIN * sides[axis]

    def corner(zoom: float) -> NDArray[np.float64]:
        size = sides / zoom
        wanted = np.zeros(2)
        wanted[axis] = first - room if edge in ("bottom", "right") else last + 1 + room - size[axis]
        wanted[1 - axis] = across - (0.5 + sideways) * size[1 - axis]
        return np.clip(wanted, 0, sides - size)

    def outside(zoom: float) -> float:
        low = corner(zoom)
        # A pixel is inside if its centre is.
        top, left = np.ceil(low - 0.5).astype(int)
        bottom, right = np.ceil(low + sides / zoom - 0.5).astype(int)
        kept = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        return float(1 - kept / sums[-1, -1])

    near, far = 1.0, MOST_ZOOM
    for _ in range(32):
        middle = (near + far) / 2
        near, far = (middle, far) if outside(middle) < share else (near, middle)
    zoom = min((near, far), key=lambda z: abs(outside(z) - share))
    top, left = corner(zoom)
    # Corners are edges of pixels, which lie half a pixel before their centres.
    return np.array([[zoom, 0, (0.5 - left) * zoom - 0.5], [0, zoom, (0.5 - top) * zoom - 0.5]], np.float64)


def share_outside(mask: NDArray[Any], affine: Affine) -> float:
    """Return the share of a mask whose pixels' centres leave the frame under a (2, 3) map; 0 for an empty mask."""
    y, x = np.nonzero(mask)
    weight = np.asarray(mask, np.float64)[y, x]
    new = affine[:, :2] @ np.stack([x, y]) + affine[:, 2:]
    limits = np.array([[mask.shape[1] - 0.5], [mask.shape[0] - 0.5]])
    inside = ((new >= -0.5) & (new < limits)).all(axis=0)
    total = float(weight.sum())
    return float(weight[~inside].sum()) / total if total > 0 else 0.0


def shifted(image: Image, pixels: int, edge: Edge) -> Image:
    """Move an image towards an edge; the strip that comes in goes on from the opposite edge, ever more blurred.

    Args:
        image: (H, W, 3) uint8.
        pixels: From 0 to one less than the side.
        edge: Where the picture leaves.
    """
    if pixels == 0:
        return image.copy()
    # Always as if it moved down: the strip comes in at the top.
    turns = {"bottom": 0, "right": 1, "top": 2, "left": 3}[edge]
    upright = np.rot90(image, -turns)
    strip = _continued(np.ascontiguousarray(upright[0]), pixels)
    moved = np.concatenate([strip[::-1], upright[: upright.shape[0] - pixels]])
    return np.ascontiguousarray(np.rot90(moved, turns))


def moved_aside(image: Image, edge: Edge, sideways: int) -> Image:
    """Move an image along an edge; right or down is positive."""
    towards: tuple[Edge, Edge] = ("right", "left") if edge in ("top", "bottom") else ("bottom", "top")
    return shifted(image, abs(sideways), towards[sideways < 0])


def _continued(line: NDArray[np.uint8], rows: int) -> NDArray[np.uint8]:
    """Return (rows, W, 3): a line of pixels that goes on, blurred along itself by half the distance from it."""
    import cv2

    stack = [line.astype(np.float32)]
    for octave in range(rows.bit_length()):
        sigma = 0.5 * 2**octave
        blurred = cv2.GaussianBlur(stack[0][None], (0, 0), sigma, sigmaY=1e-6, borderType=cv2.BORDER_REPLICATE)
        stack.append(blurred[0])
    # Between octaves of the distance (1, 2, 4, ...) the two nearest blurs are mixed.
    place = np.log2(np.arange(1, rows + 1)) + 1
    low = np.minimum(place.astype(int), len(stack) - 2)
    share = (place - low).astype(np.float32)[:, None, None]
    levels = np.stack(stack)
    mixed = levels[low] * (1 - share) + levels[low + 1] * share
    strip: NDArray[np.uint8] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return strip


class Truncation:
    """A person who is partly out of frame.

    Args:
        mode: ``shift`` moves the picture at its scale; ``crop`` enlarges a part of it, so that nothing is made up but
            the person is larger.
    """

    card = CARD
    moves_pixels = True

    def __init__(self, mode: Literal["shift", "crop"] = "shift") -> None:
        if mode not in ("shift", "crop"):
            raise ValueError(f"the mode of truncation must be 'shift' or 'crop', got {mode!r}")
        self.mode = mode

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the share of a severity, the edge beyond which it leaves, and a shift along that edge."""
        sideways = float(rng.uniform(-SIDEWAYS, SIDEWAYS))
        edge = str(rng.choice(list(EDGES), p=list(EDGES.values())))
        return {**level(self.card, severity), "edge": edge, "sideways": sideways, "mode": self.mode}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture as framed and its (2, 3) map.

        The notes are ``share_out`` (what really is outside, of the mask's pixels) and ``share_of`` (``mask``, or
        ``picture`` where there is no mask or an empty one).

        Raises:
            ValueError: If image or mask have a wrong shape or type.
        """
        image = checked(image)
        mask = beside("mask", aux, (image.shape[0], image.shape[1]), self.card.name)
        person = mask is not None and bool(mask.any())
        counted = mask if mask is not None and person else np.ones(image.shape[:2], np.float32)
        share, edge, aside = float(params["share"]), params["edge"], float(params["sideways"])
        if params["mode"] == "crop":
            from corruptions._pixels import warp

            affine = crop_affine(counted, share, edge, aside)
            result = warp(image, affine, border="replicate", interpolation="cubic")
        else:
            sideways = round(aside * image.shape[1 if edge in ("top", "bottom") else 0])
            pixels = shift_for(counted, share, edge, sideways)
            affine = shift_affine(pixels, edge, sideways)
            result = shifted(moved_aside(image, edge, sideways), pixels, edge)
        notes = {"share_out": share_outside(counted, affine), "share_of": "mask" if person else "picture"}
        return Corrupted(result, affine=affine, notes=notes)
