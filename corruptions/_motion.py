"""Camera motion during the exposure, with parallax: the picture is re-rendered along a path and averaged.

With relative disparity ``D = d_c / d`` (d_c: the nearest depth in the middle of the picture), path fraction tau, end
shift (u, v) pixels and end zoom rho, ``r = 1 + tau (rho - 1)``, a point at x is seen at::

    x' = c + (x - c - tau u r D) / (1 - (1 - r) D)

so a pixel x' that sees disparity D shows the source ``x = c + (x' - c) (1 - (1 - r) D) + tau u r D``. Only ratios of
depths matter and no focal length is needed. Each sub-frame finds the disparity that every pixel sees by splatting the
source with a depth test, and then samples the source there. What no source pixel reaches is background that the person
hid (filled from the farther side) or lies beyond the border (edge pixels go on).
"""

from __future__ import annotations

from functools import cached_property
from math import ceil, log2

import cv2
import numpy as np
from numpy.typing import NDArray

from corruptions import _pixels
from corruptions._base import Depth, Image
from corruptions._path import Path

Floats = NDArray[np.float32]
_BLOCK = 1 << 15
"""Pixels worked on at a time: they stay in the cache."""
_CELL = 4
"""Pixels to the side of a cell in which the nearest and the farthest are looked for."""
_FLAT = 0.05
"""Where disparities differ by less than this share of all, there is no near thing before a far one."""
_LEAST_WEIGHT = 1e-4
_NEAREST_SCALE = 1 / 6
"""Points that the camera has nearly reached (magnified more than six times) are dropped."""


def middle_depth(depth: Depth) -> float:
    """Return the nearest depth in the middle half of the picture, where the subject is."""
    height, width = depth.shape
    return float(depth[height // 4 : height - height // 4, width // 4 : width - width // 4].min())


def motion_blur(image: Image, depth: Depth, path: Path, subframes: int) -> Image:
    """Average the views along a camera path.

    Args:
        image: (H, W, 3) uint8.
        depth: (H, W) finite and > 0, any unit.
        path: The camera's path; the exposure covers ``[start, stop]`` of it.
        subframes: Views averaged, at the midpoints of equal shares of the exposure.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If depth is not finite and positive, or there is no sub-frame.
    """
    if not (np.isfinite(depth).all() and depth.min() > 0):
        raise ValueError("motion blur needs a finite depth > 0 at every pixel")
    if subframes < 1:
        raise ValueError(f"motion blur needs at least one sub-frame, got {subframes}")
    scene = _Scene(image, depth, path)
    total = np.zeros((*depth.shape, 4), np.float32)
    for i in range(subframes):
        scene.add_view(path.start + (path.stop - path.start) * (i + 0.5) / subframes, total)
    total /= np.float32(subframes)
    blurred: Image = cv2.cvtColor(cv2.convertScaleAbs(total), cv2.COLOR_RGBA2RGB)
    return blurred


class _Scene:
    """A picture with depth, ready to be seen from along a path.

    A view is made in blocks that stay in the cache, and in buffers that are used again, since most of its time goes
    into memory.
    """

    def __init__(self, image: Image, depth: Depth, path: Path) -> None:
        self.path = path
        # Four channels are resampled in half the time of three, to the same values.
        self.image = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
        height, width = depth.shape
        self.shape = (height, width)
        self.disparity = (np.float32(middle_depth(depth)) / depth).astype(np.float32)
        self.centre = (np.float32((width - 1) / 2), np.float32((height - 1) / 2))
        # Far to near: where several points fall on one pixel, the last written, the nearest, stays.
        order = np.argsort(self.disparity, axis=None, kind="stable")
        self.near_last = self.disparity.ravel()[order]
        self.grid_x = np.arange(width, dtype=np.float32) - self.centre[0]
        self.grid_y = (np.arange(height, dtype=np.float32) - self.centre[1])[:, None]
        self.x, self.y = (np.broadcast_to(grid, self.shape).ravel()[order] for grid in (self.grid_x, self.grid_y))
        # One spare pixel all round takes what falls outside.
        self.seen = np.empty((height + 2, width + 2), np.float32)
        self.frame = np.empty((height, width, 4), np.uint8)
        self.from_x, self.from_y = np.empty((2, height, width), np.float32)
        self.rows = max(1, _BLOCK // width)
        self.scale = np.empty(max(_BLOCK, width), np.float32)
        self.place = np.empty(_BLOCK, np.float32)
        self.cells = np.empty((2, _BLOCK), np.int32)
        self.cell = np.empty(_BLOCK, np.intp)

    @cached_property
    def _behind(self) -> tuple[NDArray[np.uint32], Floats]:
        """Flat colours, each as one number, and disparity of what near things hide; many a path uncovers nothing."""
        image, far = behind(cv2.cvtColor(self.image, cv2.COLOR_RGBA2RGB), self.disparity, self._reach())
        return cv2.cvtColor(image, cv2.COLOR_RGB2RGBA).view(np.uint32).ravel(), far.ravel()

    def _reach(self) -> int:
        """Return the widest gap, in pixels, that can open between a near and a far point."""
        gap = float(self.near_last[-1] - self.near_last[0])
        radius = float(np.hypot(*self.centre))
        last = max(abs(self.path.start), abs(self.path.stop))
        pixels = last * gap * (max(map(abs, self.path.shift)) + (1 - self.path.zoom) * radius)
        return ceil(min(pixels, float(max(self.shape))))

    def _step(self, tau: float) -> tuple[np.float32, np.float32, np.float32]:
        r = 1 + tau * (self.path.zoom - 1)
        u, v = self.path.shift
        return np.float32(1 - r), np.float32(tau * u * r), np.float32(tau * v * r)

    def _scale(self, closer: np.float32, disparity: Floats) -> Floats:
        """Return how much larger a pixel's source is, in a buffer."""
        scale = self.scale[: disparity.size].reshape(disparity.shape)
        np.multiply(disparity, closer, out=scale)
        return np.subtract(1, scale, out=scale)

    def _source(self, tau: float, disparity: Floats, at: tuple[Floats, Floats], to: tuple[Floats, Floats]) -> None:
        """Write where centred pixels (x, y) that see some disparity look in the source picture."""
        closer, *shifts = self._step(tau)
        scale = self._scale(closer, disparity) if closer else np.float32(1)
        for grid, place, shift, centre in zip(at, to, shifts, self.centre, strict=True):
            np.multiply(disparity, shift, out=place)
            place += grid * scale
            place += centre

    def _see(self, tau: float) -> Floats:
        """Return the disparity that every pixel sees, -1 where no source point arrives."""
        height, width = self.shape
        closer, *shifts = self._step(tau)
        ends = 1 - closer * self.near_last[[0, -1]]
        count = len(self.near_last)
        if ends[1] <= _NEAREST_SCALE:
            count = int(np.searchsorted(closer * self.near_last - 1, -_NEAREST_SCALE))
            ends = 1 - closer * self.near_last[[0, max(count - 1, 0)]]
        self.seen.fill(-1)
        flat = self.seen.reshape(-1)
        for start in range(0, count, _BLOCK):
            block = slice(start, min(start + _BLOCK, count))
            disparity = self.near_last[block]
            place, cell = self.place[: len(disparity)], self.cell[: len(disparity)]
            column, row = self.cells[:, : len(disparity)]
            scale = self._scale(closer, disparity) if closer else None
            for cells, at, shift, centre, most in zip(
                (column, row), (self.x, self.y), shifts, self.centre, (width, height), strict=True
            ):
                np.multiply(disparity, shift, out=place)
                np.subtract(at[block], place, out=place)
                if scale is not None:
                    place /= scale
                place += centre + 1
                # What is clipped to >= 0 is floored by the conversion.
                np.clip(place, 0, most + 1, out=place)
                np.copyto(cells, place, casting="unsafe")
            row *= np.int32(width + 2)
            row += column
            np.copyto(cell, row)
            flat[cell] = disparity
        # A point covers as many pixels as it is magnified, so that near surfaces have no cracks.
        side = max(2, ceil(1 / float(ends[1])))
        return _pixels.spread(self.seen, side)[1:-1, 1:-1]

    def add_view(self, tau: float, total: Floats) -> None:
        """Add the picture seen at a fraction of the path to an (H, W, 4) sum."""
        height = self.shape[0]
        seen = self._see(tau)
        hole = seen < 0
        for top in range(0, height, self.rows):
            strip = slice(top, min(top + self.rows, height))
            disparity, x, y = seen[strip], self.from_x[strip], self.from_y[strip]
            np.copyto(disparity, self.disparity[strip], where=hole[strip])
            self._source(tau, disparity, (self.grid_x, self.grid_y[strip]), (x, y))
            cv2.remap(self.image, x, y, cv2.INTER_LINEAR, self.frame[strip], cv2.BORDER_REPLICATE)
        self._uncover(tau, np.flatnonzero(hole))
        cv2.accumulate(self.frame, total)

    def _uncover(self, tau: float, holes: NDArray[np.intp]) -> None:
        """Draw what the person hid into the holes (flat positions) of the frame."""
        height, width = self.shape
        x, y = (place.ravel().take(holes) for place in (self.from_x, self.from_y))
        # A hole whose source lies in the picture was hidden by something near; else it lies beyond the border.
        hidden = holes[(x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)]
        if not hidden.size:
            return
        colours, disparity = self._behind
        far = disparity.take(hidden)
        rows, columns = np.divmod(hidden.astype(np.int32), np.int32(width))
        x, y = np.empty((2, len(hidden)), np.float32)
        for start in range(0, len(hidden), _BLOCK):
            part = slice(start, start + _BLOCK)
            at = self.grid_x.take(columns[part]), self.grid_y.ravel().take(rows[part])
            self._source(tau, far[part], at, (x[part], y[part]))
        column_from = np.clip(np.rint(x), 0, width - 1).astype(np.intp)
        row_from = np.clip(np.rint(y), 0, height - 1).astype(np.intp)
        self.frame.view(np.uint32).reshape(-1)[hidden] = colours.take(row_from * width + column_from)


def behind(image: Image, disparity: Floats, reach: int) -> tuple[Image, Floats]:
    """Return picture and disparity with near things, close to their edges, replaced by the farther things around them.

    Args:
        image: (H, W, 3) uint8.
        disparity: (H, W), larger is nearer.
        reach: How far inside an edge, in pixels, the background may come into sight.

    Returns:
        (H, W, 3) uint8 and (H, W) float32.
    """
    if reach < 1:
        return image, disparity
    height, width = disparity.shape
    known, counts = _farther(disparity, 3 * reach + 2)
    own = cv2.insertChannel(disparity, _four(image), 3)
    # Halved again and again, what does not count weighing nothing, until a cell is wider than any gap; then enlarged,
    # every size filling what the finer one does not know: from the nearest background there is.
    value, weight = cv2.copyTo(own, counts), counts.astype(np.float32) / np.float32(255)
    finer = []
    for _ in range(ceil(log2(4 * reach))):
        finer.append((value, weight))
        size = ((value.shape[1] + 1) // 2, (value.shape[0] + 1) // 2)
        value, weight = (cv2.resize(level, size, interpolation=cv2.INTER_AREA) for level in (value, weight))
    filled = cv2.resize(own, (weight.shape[1], weight.shape[0]), interpolation=cv2.INTER_AREA)
    for values, weights in ((cv2.blur(value, (3, 3)), cv2.blur(weight, (3, 3))), (value, weight)):
        np.divide(values, weights[..., None], out=filled, where=(weights > _LEAST_WEIGHT)[..., None])
    for value, weight in finer[:0:-1]:
        filled = cv2.resize(filled, (weight.shape[1], weight.shape[0]), interpolation=cv2.INTER_LINEAR)
        # A cell of which a quarter is known is known.
        gain = np.minimum(4, 1 / np.maximum(weight, _LEAST_WEIGHT))
        filled *= (1 - weight * gain)[..., None]
        filled += value * gain[..., None]
    filled = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
    colours = cv2.convertScaleAbs(cv2.cvtColor(filled, cv2.COLOR_RGBA2RGB))
    return cv2.copyTo(image, known, colours), cv2.copyTo(disparity, known, cv2.extractChannel(filled, 3))


def _farther(disparity: Floats, around: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Tell the background of near things from their inside.

    Args:
        disparity: (H, W).
        around: Pixels to look around.

    Returns:
        (H, W), 255 where a pixel is nearer to the farthest than to the nearest disparity around it, else 0; and the
        same without places where those two are alike, as they are in the midst of a near thing.
    """
    cells = np.ones((_CELL, _CELL), np.uint8)
    half = ceil(around / _CELL)
    low = _pixels.lowest(cv2.erode(disparity, cells, anchor=(0, 0))[::_CELL, ::_CELL], half)
    high = _pixels.highest(cv2.dilate(disparity, cells, anchor=(0, 0))[::_CELL, ::_CELL], half)
    gap = high - low
    flat = gap < np.float32(_FLAT) * (high.max() - low.min())
    rows, columns = (np.arange(side) // _CELL for side in disparity.shape)
    middle, flat = (each.take(rows, axis=0).take(columns, axis=1) for each in (low + gap / 2, flat))
    known = cv2.compare(disparity, middle, cv2.CMP_LE)
    return known, cv2.copyTo(known, (~flat).view(np.uint8))


def _four(image: Image) -> Floats:
    """Return a picture as (H, W, 4) float32."""
    four: Image = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
    return four.astype(np.float32)
