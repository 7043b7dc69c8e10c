"""Glass blur: seen through frosted glass, every point shows a neighbour instead of itself."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corruptions._base import Card, Corrupted, Image, Params, checked, draw_seed, level, seeded
from corruptions.common._source import PAPER, length_scale

Field = NDArray[np.intp]

CARD = Card(
    name="glass_blur",
    version="2",
    summary="Frosted glass: the picture is blurred, its pixels are exchanged with neighbours, and it is blurred again.",
    reference=f"{PAPER}; own implementation of the formula",
    extra={
        "family": "blur",
        "stochastic": True,
        "levels": "published",
        "formula": "y = G_sigma * S^n(G_sigma * x); S, from the last pixel to the first: x(p) <- x(p + U{-d..d}^2)",
        "severities": {
            s: {"sigma_px": sigma, "delta_px": delta, "passes": passes}
            for s, (sigma, delta, passes) in enumerate(
                ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)), 1
            )
        },
        "deviations": [
            "the loop over pixels is a forest of pointers, resolved by doubling: the same result for the same offsets",
            "as in the published code a pixel is copied from its neighbour, not exchanged with it",
            "offsets from -d to d; published, -d to d - 1, which shifts the picture to the upper left by 0.5 to 0.9 px "
            "a pass (centred=False)",
            "pixels near the edges take part, their neighbours held inside; published, a frame of d pixels stays sharp",
            "offsets are drawn on a grid 224 wide and enlarged with it, so that the glass is as coarse, and the same, "
            "at any size of picture (scaled=False draws one for each pixel)",
            "seeded per image; the published code draws from a generator that no seed reaches",
            "rounded, not truncated, to 8 bits",
        ],
    },
)


def draw_offsets(
    shape: tuple[int, int], delta: int, rng: np.random.Generator, centred: bool = True
) -> tuple[Field, Field]:
    """Draw an offset for every place: (down, across), each (H, W), uniform over a square.

    Args:
        shape: (H, W) of the grid.
        delta: Offsets reach from -delta to delta.
        rng: Source of the draws; one 32-bit word each.
        centred: Otherwise offsets reach only to delta - 1, as published.
    """
    side = 2 * delta + 1 if centred else 2 * delta
    word = rng.integers(0, 1 << 32, size=shape, dtype=np.uint32).astype(np.uint64)
    drawn = ((word * np.uint64(side * side)) >> np.uint64(32)).astype(np.intp)
    down, across = np.divmod(np.arange(side * side), side)
    return (down - delta)[drawn], (across - delta)[drawn]


def shuffle(down: Field, across: Field) -> Field:
    """Return from where every place has its content after one pass.

    The pass goes from the last place to the first, row by row, and copies to each the present content of a neighbour. A
    neighbour further on has already got its own; so a place points to its neighbour, chains of such pointers only lead
    onwards, and they end at the first place whose neighbour lies behind it.

    Args:
        down: (H, W) offsets of the neighbours in rows.
        across: (H, W) offsets of the neighbours in columns. Both are held inside the grid.

    Returns:
        (H W,) flat indices into the grid before the pass.
    """
    height, width = down.shape
    row = np.clip(np.arange(height)[:, None] + down, 0, height - 1)
    column = np.clip(np.arange(width) + across, 0, width - 1)
    neighbour = (row * width + column).ravel()
    here = np.arange(height * width)
    last = np.where(neighbour > here, neighbour, here)
    # Every round doubles the length of the chains that are followed.
    while not np.array_equal(further := last[last], last):
        last = further
    source: Field = neighbour[last]
    return source


def shuffled(
    shape: tuple[int, int], delta: int, passes: int, rng: np.random.Generator, centred: bool = True
) -> tuple[Field, Field]:
    """Return how far away the content of every place was before some passes: (down, across), each (H, W)."""
    height, width = shape
    source = np.arange(height * width)
    for _ in range(passes):
        source = source[shuffle(*draw_offsets(shape, delta, rng, centred))]
    row, column = np.divmod(source.reshape(shape), width)
    return row - np.arange(height)[:, None], column - np.arange(width)


def glass_blur(
    image: Image,
    sigma: float,
    delta: int,
    passes: int,
    rng: np.random.Generator,
    grain: float = 1.0,
    centred: bool = True,
) -> Image:
    """Blur, let every place take the content of places around it, and blur again.

    Args:
        image: (H, W, 3) uint8.
        sigma: Standard deviation of both Gaussians in grains, >= 0.
        delta: A place copies from places up to this many grains away, in rows and columns, >= 1.
        passes: How often, >= 1.
        rng: Source of the offsets.
        grain: Side of a grain in pixels, > 0.
        centred: Displace nothing on average.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If a number is out of range.
    """
    from corruptions._pixels import resample
    from corruptions.common._filters import gaussian

    if sigma < 0 or delta < 1 or passes < 1 or grain <= 0:
        raise ValueError(
            "glass blur needs sigma >= 0, delta >= 1, passes >= 1 and grain > 0, "
            f"got {sigma}, {delta}, {passes} and {grain}"
        )
    height, width = image.shape[:2]
    grid = ceil(height / grain), ceil(width / grain)
    down, across = shuffled(grid, delta, passes, rng, centred)
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) / grain).astype(np.intp), cells - 1)
        for n, cells in zip((height, width), grid, strict=True)
    )
    y, x = (
        place + (np.float32(grain) * field.astype(np.float32)).take(rows, axis=0).take(columns, axis=1)
        for place, field in (
            (np.arange(height, dtype=np.float32)[:, None], down),
            (np.arange(width, dtype=np.float32), across),
        )
    )
    return gaussian(resample(gaussian(image, grain * sigma), x, y), grain * sigma)


class GlassBlur:
    """Frosted glass.

    Args:
        scaled: Let glass and blur be those of a picture 224 wide, enlarged; otherwise take the published pixels.
        centred: Draw offsets evenly to all sides; otherwise as published, more to the upper left.
    """

    card = CARD
    moves_pixels = False

    def __init__(self, scaled: bool = True, centred: bool = True) -> None:
        self.scaled = scaled
        self.centred = centred

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity and the seed of the glass."""
        options = {"scaled": self.scaled, "centred": self.centred}
        return {**level(self.card, severity), "seed": draw_seed(rng), **options}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture behind glass.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        image = checked(image)
        grain = length_scale(image.shape[1], bool(params["scaled"]))
        result = glass_blur(
            image,
            float(params["sigma_px"]),
            int(params["delta_px"]),
            int(params["passes"]),
            seeded(params["seed"]),
            grain,
            bool(params["centred"]),
        )
        return Corrupted(result)
