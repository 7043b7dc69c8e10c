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

import numpy as np
from numpy.typing import NDArray

from corruptions import _pixels
from corruptions._base import Depth, Image, to_uint8
from corruptions._path import Path

Floats = NDArray[np.float32]
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
    total = np.zeros(image.shape, np.float32)
    for i in range(subframes):
        total += scene.view(path.start + (path.stop - path.start) * (i + 0.5) / subframes)
    return to_uint8(total / np.float32(subframes))


class _Scene:
    """A picture with depth, ready to be seen from along a path."""

    def __init__(self, image: Image, depth: Depth, path: Path) -> None:
        self.image, self.path = image, path
        height, width = depth.shape
        self.shape = (height, width)
        self.disparity = (np.float32(middle_depth(depth)) / depth).astype(np.float32)
        self.centre = (np.float32((width - 1) / 2), np.float32((height - 1) / 2))
        # Far to near: where several points fall on one pixel, the last written, the nearest, stays.
        order = np.argsort(self.disparity, axis=None, kind="stable")
        self.near_last = self.disparity.ravel()[order]
        self.x = (order % width).astype(np.float32) - self.centre[0]
        self.y = (order // width).astype(np.float32) - self.centre[1]
        self.grid_x = np.broadcast_to(np.arange(width, dtype=np.float32) - self.centre[0], self.shape)
        self.grid_y = np.broadcast_to((np.arange(height, dtype=np.float32) - self.centre[1])[:, None], self.shape)
        self.behind, self.behind_disparity = behind(image, self.disparity, self._reach())

    def _reach(self) -> int:
        """Return the widest gap, in pixels, that can open between a near and a far point."""
        gap = float(self.near_last[-1] - self.near_last[0])
        radius = float(np.hypot(*self.centre))
        last = max(abs(self.path.start), abs(self.path.stop))
        pixels = last * gap * (max(map(abs, self.path.shift)) + (1 - self.path.zoom) * radius)
        return int(np.ceil(min(pixels, max(self.shape))))

    def _step(self, tau: float) -> tuple[np.float32, np.float32, np.float32]:
        r = 1 + tau * (self.path.zoom - 1)
        u, v = self.path.shift
        return np.float32(1 - r), np.float32(tau * u * r), np.float32(tau * v * r)

    def _source(self, tau: float, disparity: Floats, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return where centred pixels (x, y) that see some disparity look in the source picture."""
        closer, shift_x, shift_y = self._step(tau)
        scale = 1 - closer * disparity
        return x * scale + shift_x * disparity + self.centre[0], y * scale + shift_y * disparity + self.centre[1]

    def _seen(self, tau: float) -> Floats:
        """Return the disparity that every pixel sees, -1 where no source point arrives."""
        height, width = self.shape
        closer, shift_x, shift_y = self._step(tau)
        scale = 1 - closer * self.near_last
        count = int(np.searchsorted(-scale, -_NEAREST_SCALE)) if closer > 0 else len(scale)
        disparity, scale = self.near_last[:count], scale[:count]
        # One spare pixel all round takes what falls outside.
        x = (self.x[:count] - shift_x * disparity) / scale + (self.centre[0] + 1)
        y = (self.y[:count] - shift_y * disparity) / scale + (self.centre[1] + 1)
        column = np.clip(np.floor(x), 0, width + 1).astype(np.int32)
        row = np.clip(np.floor(y), 0, height + 1).astype(np.int32)
        seen = np.full((height + 2, width + 2), -1, np.float32)
        seen.ravel()[row * np.int32(width + 2) + column] = disparity
        # A point covers as many pixels as it is magnified, so that near surfaces have no cracks.
        side = max(2, int(np.ceil(1 / float(scale.min()))))
        return _pixels.spread(seen, side)[1:-1, 1:-1]

    def view(self, tau: float) -> NDArray[np.uint8]:
        """Return the picture seen at a fraction of the path."""
        seen = self._seen(tau)
        hole = seen < 0
        disparity = np.where(hole, self.disparity, seen)
        x, y = self._source(tau, disparity, self.grid_x, self.grid_y)
        frame: NDArray[np.uint8] = _pixels.resample(self.image, x, y)
        height, width = self.shape
        # A hole whose source lies in the picture was hidden by something near; else it lies beyond the border.
        hidden = hole & (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
        if hidden.any():
            far = self.behind_disparity[hidden]
            x, y = self._source(tau, far, self.grid_x[hidden], self.grid_y[hidden])
            column = np.clip(np.rint(x), 0, width - 1).astype(np.intp)
            row = np.clip(np.rint(y), 0, height - 1).astype(np.intp)
            frame[hidden] = self.behind[row, column]
        return frame


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
    # The near thing must count as near so far inside its edge that no filling window below reaches its core.
    around = min(3 * reach + 2, max(disparity.shape))
    low, high = _pixels.lowest(disparity, around), _pixels.highest(disparity, around)
    known = disparity <= (low + high) / 2
    values = np.concatenate([image.astype(np.float32), disparity[..., None]], axis=2)
    filled = values.copy()
    missing = ~known
    weighted = values * known[..., None]
    weight = known.astype(np.float32)
    half = 2
    # Windows that double in size: each gap is filled from the nearest background there is.
    while missing.any() and half < 4 * reach:
        share = _pixels.box_sum(weight, half)
        now = missing & (share > 0.5)
        if now.any():
            filled[now] = _pixels.box_sum(weighted, half)[now] / share[now][:, None]
            missing &= ~now
        half *= 2
    return to_uint8(filled[..., :3]), np.ascontiguousarray(filled[..., 3])
