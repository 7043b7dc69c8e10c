"""What `corruptions.corrupt` and `corruptions.names` do: any picture in, a picture of the same kind out.

Kinds of picture, all uint8 sRGB: grey (H, W) or (H, W, 1), colour (H, W, 3), colour with alpha (H, W, 4). Corruptions
work on colour. Grey is repeated in three channels, and the green one of the result is returned: one channel has noise
of the stated strength, whereas the luma of three would average a third of it away. Alpha is no light: the colours are
corrupted as they are, and alpha goes along with pixels that move (nothing comes in from outside).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corruptions import NAMES, load
from corruptions._base import SMALLEST, Aux, Corrupted, Image, Params
from corruptions._seeds import generator, pixel_key

Picture = NDArray[np.uint8]
"""(H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8."""


@dataclass(frozen=True, eq=False)
class Result:
    """A picture as corrupted, of the kind that was given, and how it came to be.

    Attributes:
        image: As given in shape and type.
        corrupted: What the corruption returned (colour image, affine, notes, ...).
        params: The parameters drawn, JSON-able.
    """

    image: Picture
    corrupted: Corrupted
    params: Params


@cache
def _families() -> dict[str, str]:
    return {name: str(load(name).card.extra["family"]) for name in sorted(NAMES)}


def names(family: str | None = None) -> list[str]:
    """See `corruptions.names`."""
    families = _families()
    if family is not None and family not in families.values():
        raise ValueError(
            f"there is no family of corruptions {family!r}; expected one of {', '.join(sorted(set(families.values())))}"
        )
    return [name for name, own in families.items() if family in (None, own)]


def colours(image: Any) -> Image:
    """Return the three channels of a picture that a corruption works on.

    Raises:
        TypeError: If it is no array, or not of uint8.
        ValueError: If it has the shape of no picture, or is too small.
    """
    if not isinstance(image, np.ndarray):
        raise TypeError(f"an image must be a NumPy array, got {type(image).__name__}; convert it with numpy.asarray")
    if image.dtype != np.uint8:
        raise TypeError(
            f"an image must be of uint8 (0 to 255, sRGB), got {image.dtype}; values from 0 to 1 become it by "
            "numpy.rint(255 * image).astype(numpy.uint8)"
        )
    kinds = "expected (H, W) or (H, W, 1) for grey, (H, W, 3) for colour, (H, W, 4) for colour with alpha"
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or channels not in (1, 3, 4):
        hint = "; turn channels-first pictures by numpy.moveaxis(image, 0, -1)" if image.ndim == 3 else ""
        raise ValueError(f"an image cannot have the shape {image.shape}; {kinds}{hint}")
    if min(image.shape[:2]) < SMALLEST:
        raise ValueError(
            f"an image must be at least {SMALLEST} pixels on both sides, got {image.shape[1]}x{image.shape[0]}"
        )
    if channels == 1:
        return np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(image[..., :3])


def like(image: Picture, result: Corrupted) -> Picture:
    """Return a corrupted colour picture in the kind of the picture that was given.

    Raises:
        ValueError: If the camera moved, so that alpha cannot follow.
    """
    if image.ndim == 2:
        return np.ascontiguousarray(result.image[..., 1])
    if image.shape[2] == 1:
        return np.ascontiguousarray(result.image[..., 1:2])
    if image.shape[2] == 3:
        return result.image
    if result.view_change is not None:
        raise ValueError("alpha cannot follow a camera that moves; give (H, W, 3) and take the mask from the result")
    alpha = image[..., 3]
    if result.affine is not None:
        from corruptions._pixels import warp

        alpha = warp(np.ascontiguousarray(alpha), result.affine)
    return np.concatenate([result.image, alpha[..., None]], axis=2)


def beside(depth: Any, mask: Any, scene: Any = None, camera: Any = None) -> Aux:
    """Return what lies beside a picture, in the types that corruptions expect.

    Args:
        depth: (H, W) floating-point metres, or None.
        mask: (H, W) bool, floating point from 0 to 1, or whole numbers up to 1 or 255; or None.
        scene: Passed on.
        camera: Passed on.

    Raises:
        TypeError: If the depth is of whole numbers.
        ValueError: If the mask has other values.
    """
    if depth is not None:
        depth = np.asarray(depth)
        if depth.dtype.kind != "f":
            raise TypeError(
                f"a depth map must be floating-point metres, got {depth.dtype}; millimetres become it by depth / 1000"
            )
        depth = depth.astype(np.float32, copy=False)
    if mask is not None:
        values = np.asarray(mask)
        mask = values.astype(np.float32)
        if values.dtype.kind in "ui" and values.max() > 1:
            mask /= np.float32(255)
        if not (mask.min() >= 0 and mask.max() <= 1):
            raise ValueError(f"a mask must have values from 0 to 1 (or to 255 in whole numbers), got {values.max()}")
    return Aux(depth=depth, mask=mask, scene=scene, camera=camera)


def made(corruption: Any) -> Any:
    """Return the corruption of a name, or the one that was given.

    Raises:
        ValueError: If there is none of that name.
        TypeError: If it is neither.
    """
    if isinstance(corruption, str):
        return load(corruption)
    if all(hasattr(corruption, part) for part in ("card", "sample", "apply")):
        return corruption
    raise TypeError(f"a corruption is a name or an object with card, sample and apply, got {corruption!r}")


def run(image: Picture, corruption: Any, severity: int, seed: int, key: str | None, aux: Aux) -> Result:
    """Draw by the seed rule, and apply.

    Args:
        image: A picture of any kind.
        corruption: A name, or a corruption made with options.
        severity: 1..5.
        seed: The user's seed.
        key: What names the picture; None takes its pixels.
        aux: Depth, mask, scene, camera.

    Raises:
        TypeError, ValueError: If something has the wrong type or shape, or does not exist.
        MissingInput: If the corruption needs an input that is not there.
    """
    colour = colours(image)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"a seed must be a whole number, got {seed!r}")
    if key is not None and not isinstance(key, str):
        raise TypeError(f"a key must be a string, got {key!r}")
    corruption = made(corruption)
    card = corruption.card
    if key is None:
        # Nothing is drawn where a corruption is not stochastic, so nothing need be hashed.
        key = pixel_key(image) if card.extra.get("stochastic", True) else ""
    shape = (colour.shape[0], colour.shape[1])
    # A NumPy integer is the same severity; parameters go through JSON, which takes plain ones only.
    severity = getattr(severity, "item", lambda: severity)()
    drawn = corruption.sample(severity, shape, generator(int(seed), key, f"{card.name}@{card.version}"))
    # Through JSON and back, as a manifest would give them: a replay takes exactly this path.
    params: Params = json.loads(json.dumps(dict(drawn), allow_nan=False))
    result = corruption.apply(colour, params, aux)
    picture = like(image, result)
    if np.may_share_memory(picture, image):
        picture = picture.copy()
    return Result(picture, result, params)
