"""What the corruptions are measured against: other packages where they have the same corruption, and plain formulas.

A peer is a function that makes ready on a picture and returns the job to be timed, or raises `Absent`. Formulas of 3DCC
are restated plainly from the paper, since its generator cannot be installed; they do what it does, without its files.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Job = Callable[[], Any]


class Absent(Exception):
    """A package is not installed, or does not run beside the others."""


@dataclass(frozen=True)
class Subject:
    """The picture that everybody corrupts: (512, 512, 3) uint8, (512, 512) finite float32 metres."""

    image: np.ndarray
    depth: np.ndarray


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Absent("not installed") from error


# --- other packages ---


def imagecorruptions(name: str) -> Callable[[Subject], Job]:
    """Return the peer of a name; three of its functions call what NumPy 2 and scikit-image 0.26 no longer have."""

    def ready(subject: Subject) -> Job:
        if not hasattr(np, "float_"):
            vars(np)["float_"] = np.float64
        package = _package("imagecorruptions")
        inner = importlib.import_module("imagecorruptions.corruptions")
        if not hasattr(inner, "patched_for_measuring"):
            plain = inner.gaussian

            def gaussian(*args: Any, multichannel: bool = False, **named: Any) -> Any:
                return plain(*args, **(named | ({"channel_axis": -1} if multichannel else {})))

            inner.gaussian, inner.patched_for_measuring = gaussian, True
        return lambda: package.corrupt(subject.image, severity=3, corruption_name=name)

    return ready


def albumentations(kind: str, **options: Any) -> Callable[[Subject], Job]:
    """Return the peer of a transform of albumentations."""

    def ready(subject: Subject) -> Job:
        package = _package("albumentations")
        transform = getattr(package, kind)(p=1.0, **options)
        return lambda: transform(image=subject.image)["image"]

    return ready


def kornia(kind: str, *args: Any, **options: Any) -> Callable[[Subject], Job]:
    """Return the peer of an augmentation of kornia, on one float tensor that is ready."""

    def ready(subject: Subject) -> Job:
        package = _package("kornia")
        import torch

        torch.set_num_threads(1)
        transform = getattr(package.augmentation, kind)(*args, p=1.0, **options)
        tensor = torch.from_numpy(subject.image).permute(2, 0, 1)[None].float() / 255

        def job() -> Any:
            with torch.no_grad():
                return transform(tensor)

        return job

    return ready


# --- formulas of 3DCC, plainly ---


def _unit(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32) / 255


def _bytes(values: np.ndarray) -> np.ndarray:
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def fog_3d(subject: Subject) -> Job:
    """``t I + (1 - t) A``."""

    def job() -> np.ndarray:
        clear = np.exp(-0.768 * subject.depth)[..., None]
        image = _unit(subject.image)
        return _bytes(clear * image + (1 - clear) * image.mean())

    return job


def color_quant(subject: Subject) -> Job:
    """The top bits, by division."""
    return lambda: subject.image // 32 * 32


def iso_noise(subject: Subject) -> Job:
    """Poisson, clip, normal, clip."""
    rng = np.random.default_rng(0)

    def job() -> np.ndarray:
        image = np.clip(rng.poisson(_unit(subject.image) * 25) / 25, 0, 1)
        return _bytes(image + rng.normal(0, 0.126, image.shape))

    return job


def low_light(subject: Subject) -> Job:
    """Stretch, square, darken, Poisson, clip, normal, clip."""
    rng = np.random.default_rng(0)

    def job() -> np.ndarray:
        image = _unit(subject.image)
        image = (image - image.min()) / (image.max() - image.min())
        image = np.clip(rng.poisson(0.4 * image**2 * 120) / 120, 0, 1)
        return _bytes(image + rng.normal(0, 0.018, image.shape))

    return job


def camera_roll(subject: Subject) -> Job:
    """One warp."""
    import cv2

    height, width = subject.image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 20, 1)
    return lambda: cv2.warpAffine(subject.image, turn, (width, height))


def zoom_blur_2d(subject: Subject) -> Job:
    """Five times the mean of two zooms, in 8 bits (the published level, b = 0.02)."""
    import cv2

    height, width = subject.image.shape[:2]
    zooms = [cv2.getRotationMatrix2D((width / 2, height / 2), 0, zoom) for zoom in (1.02, 0.98)]

    def job() -> np.ndarray:
        image = subject.image
        for _ in range(5):
            image = cv2.addWeighted(
                cv2.warpAffine(image, zooms[0], (width, height)),
                0.5,
                cv2.warpAffine(image, zooms[1], (width, height)),
                0.5,
                0,
            )
        return image

    return job


def focus(near: bool) -> Callable[[Subject], Job]:
    """Nine Gaussians at the quantiles of depth, and their mixture (aperture of severity 3)."""

    def ready(subject: Subject) -> Job:
        import cv2

        def job() -> np.ndarray:
            edge = np.quantile(subject.depth, np.arange(9) / 8)
            edge[0], edge[-1] = edge[0] - 1e-4, edge[-1] + 1e-4
            sigma = (5 if near else 3.5) * np.abs(edge[0 if near else 7] - edge) / edge
            image = _unit(subject.image)
            layers = np.stack(
                [image if s < 0.1 else cv2.GaussianBlur(image, (2 * int(1.5 * s) + 3,) * 2, s) for s in sigma]
            )
            after = np.clip(np.searchsorted(edge, subject.depth), 1, 8)
            share = (subject.depth - edge[after - 1]) / np.maximum(edge[after] - edge[after - 1], 1e-9)
            weight = (1 - share**2, 1 - (1 - share) ** 2)
            y, x = np.indices(after.shape)
            mixed = weight[0][..., None] * layers[after - 1, y, x] + weight[1][..., None] * layers[after, y, x]
            return _bytes(mixed / (weight[0] + weight[1])[..., None])

        return job

    return ready


VIEWS = 4
"""Views that are timed of a motion blur."""


def motion(zoom: float) -> Callable[[Subject], Job]:
    """Views of a point cloud: a depth test on each pixel, then colours splatted bilinearly on what is in front.

    `VIEWS` views are made; the benchmark multiplies. The holes are left; filling them took most of the original's time.
    """

    def ready(subject: Subject) -> Job:
        height, width = subject.depth.shape
        y, x = np.mgrid[:height, :width].reshape(2, -1).astype(np.float32)
        colours = subject.image.reshape(-1, 3).astype(np.float32)
        depth = subject.depth.ravel() / subject.depth.min()

        def view(tau: float) -> np.ndarray:
            rest = 1 + tau * (zoom - 1)
            scale = depth + rest - 1
            u = width / 2 + (depth * (x - width / 2) - tau * 60 * rest) / scale
            v = height / 2 + (depth * (y - height / 2) - tau * 20 * rest) / scale
            total = np.zeros((height * width, 4), np.float64)
            column, row = np.floor(u).astype(int), np.floor(v).astype(int)
            front = np.full(height * width, np.inf, np.float32)
            inside = (column >= 0) & (column < width - 1) & (row >= 0) & (row < height - 1)
            at = row[inside] * width + column[inside]
            np.minimum.at(front, at, depth[inside])
            for right in (0, 1):
                for down in (0, 1):
                    cell = at + right + down * width
                    share = np.abs(1 - right - (u - column)[inside]) * np.abs(1 - down - (v - row)[inside])
                    share = share * (depth[inside] <= front[cell] + 0.05)
                    for c in range(3):
                        total[:, c] += np.bincount(cell, share * colours[inside, c], height * width)
                    total[:, 3] += np.bincount(cell, share, height * width)
            return total[:, :3] / (total[:, 3:] + 1e-7)

        def job() -> np.ndarray:
            return np.mean([view(0.66 * i / VIEWS) for i in range(VIEWS)], axis=0)

        return job

    return ready


def clip(codec: str, options: str) -> Callable[[Subject], Job]:
    """A clip of 120 still frames, coded and decoded in this process (the original starts three programs for it)."""

    def ready(subject: Subject) -> Job:
        from corruptions import _video

        pinned = "pools=none:frame-threads=1:log-level=none" if codec == "libx265" else "threads=1"
        decoder, key = ("hevc", "x265-params") if codec == "libx265" else ("h264", "x264-params")

        def job() -> Any:
            packets = _video.encode(codec, subject.image, {key: f"{pinned}:{options}"}, frames=120, rate=25)
            return _video.decode(decoder, packets, (512, 512))

        return job

    return ready
