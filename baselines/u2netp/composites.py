"""Training pictures: a rendered person cut out by the true mask, changed, and pasted on a picture without people.

Every picture is a pure function of the data and one random generator, so that training can be repeated and resumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from baselines.u2netp.backgrounds import background, noise
from robench.contracts import Image
from robench.data.discover import open_dataset
from robench.errors import UsageError
from robench.io.images import read_image, read_mask

Target = NDArray[np.uint8]
"""(side, side) uint8: 255 is the person."""

NOBODY = 0.04
"""Share of training pictures without a person: the network must be able to say so."""


@dataclass(frozen=True)
class Views:
    """Rendered views in memory, squashed to one size.

    Attributes:
        names: Sample ids, in the data set's order.
        images: (N, S, S, 3) uint8 sRGB.
        masks: (N, S, S) uint8, 255 is the person.
    """

    names: tuple[str, ...]
    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.names)


def load_views(data: Path, split: str | None, side: int, limit: int | None = None) -> Views:
    """Read the views of a split that have masks.

    Args:
        data: Folder of a data set.
        split: Name of the split, or None for all.
        side: Edge to squash to, in pixels.
        limit: Take at most so many, evenly spread over the split.

    Raises:
        UsageError: If no reader knows the folder, or the split has no view with a mask.
    """
    samples = [s for s in open_dataset(data).dataset.samples(data, split) if s.mask is not None]
    if not samples:
        raise UsageError(f"The split '{split}' of {data} has no view with a mask", hint=f"robench data verify {data}")
    if limit is not None and limit < len(samples):
        samples = [samples[i] for i in np.linspace(0, len(samples) - 1, limit).astype(int)]
    images = np.empty((len(samples), side, side, 3), np.uint8)
    masks = np.empty((len(samples), side, side), np.uint8)
    for i, sample in enumerate(samples):
        image = read_image(sample.image)
        assert sample.mask is not None
        images[i] = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        mask = read_mask(sample.mask, image.shape[:2])
        masks[i] = np.rint(255 * cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA))
    return Views(tuple(s.sample_id for s in samples), images, masks)


def training_picture(
    views: Views, rng: np.random.Generator, side: int, as_rendered: float = 0.5
) -> tuple[Image, Target]:
    """Make one training picture.

    Args:
        views: Rendered people.
        rng: Source of randomness.
        side: Edge in pixels.
        as_rendered: Share of pictures that keep the rendered background; the rest are composites.

    Returns:
        (side, side, 3) uint8 sRGB, and (side, side) uint8 with 255 for the person.
    """
    i = int(rng.integers(len(views)))
    kind = rng.random()
    if kind < NOBODY:
        return _photographed(background(rng, side), rng), np.zeros((side, side), np.uint8)
    if kind < NOBODY + as_rendered:
        image, target = _as_rendered(views.images[i], views.masks[i], rng, side)
        return (_photographed(image, rng) if rng.random() < 0.5 else image), target
    person, alpha = _cutout(views.images[i], views.masks[i])
    person = _relit(person, rng)
    person, alpha = _placed(person, alpha, rng, side)
    canvas = background(rng, side).astype(np.float32)
    if rng.random() < 0.3:
        canvas = _shadowed(canvas, alpha, rng)
    image = np.clip(canvas + alpha[..., None] * (person - canvas), 0, 255).astype(np.uint8)
    return _photographed(image, rng), np.rint(255 * alpha).astype(np.uint8)


def _as_rendered(image: Image, mask: Target, rng: np.random.Generator, side: int) -> tuple[Image, Target]:
    """Keep the rendered picture; flip, turn, zoom and shift it a little."""
    size = image.shape[0]
    zoom = side / size * rng.uniform(0.8, 1.2)
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), rng.normal(0, 4), zoom)
    matrix[:, 2] += side / 2 - size / 2 + rng.uniform(-0.08, 0.08, 2) * side
    if rng.random() < 0.5:
        image, mask = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])
    if zoom < 0.7:  # blur before sampling coarsely
        sigma = 0.4 / zoom
        image, mask = cv2.GaussianBlur(image, (0, 0), sigma), cv2.GaussianBlur(mask, (0, 0), sigma)
    moved = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    target = cv2.warpAffine(mask, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8), np.asarray(target, np.uint8)


def _cutout(image: Image, mask: Target) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cut the person out: colours (h, w, 3), opacity (h, w) in [0, 1], cropped to the person.

    Colours at the edge are mixed with the rendered background, so the inside's colours are spread outwards over them.
    """
    rows, columns = np.flatnonzero(mask.max(1) > 127), np.flatnonzero(mask.max(0) > 127)
    if len(rows) == 0:
        return np.zeros((2, 2, 3), np.float32), np.zeros((2, 2), np.float32)
    window = np.s_[max(rows[0] - 3, 0) : rows[-1] + 4, max(columns[0] - 3, 0) : columns[-1] + 4]
    rgb, alpha = image[window].astype(np.float32), mask[window].astype(np.float32) / 255
    inside = (cv2.erode(alpha, np.ones((3, 3), np.uint8)) > 0.99).astype(np.float32)
    weight = cv2.GaussianBlur(inside, (9, 9), 2.0)[..., None]
    spread = cv2.GaussianBlur(rgb * inside[..., None], (9, 9), 2.0) / np.maximum(weight, 1e-6)
    usable = (weight > 1e-3) & (inside[..., None] == 0)
    return np.where(usable, spread, rgb).astype(np.float32), alpha.astype(np.float32)


def _relit(person: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Change colours, contrast, light and cloth of the person, independent of the background."""
    height, width = person.shape[:2]
    mix = np.eye(3) + rng.normal(0, 0.12, (3, 3))
    person = person @ mix.T.astype(np.float32)
    level = float(person.mean())
    person = (person - level) * np.float32(rng.uniform(0.5, 1.5)) + level * np.float32(rng.uniform(0.5, 1.5))
    if rng.random() < 0.5:  # light from one side
        angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.5)
        ramp = np.linspace(-1, 1, width)[None] * np.cos(angle) + np.linspace(-1, 1, height)[:, None] * np.sin(angle)
        person = person * (1 + strength * ramp[..., None]).astype(np.float32)
    if rng.random() < 0.5:  # cloth: folds and prints that the renders lack
        side = max(height, width)
        channels = 3 if rng.random() < 0.4 else 1
        field = noise(rng, side, int(rng.integers(3, 32)), octaves=3, channels=channels)[:height, :width]
        person = person * np.exp(field * np.float32(rng.uniform(0.05, 0.35)))
    return np.clip(person, 0, 255).astype(np.float32)


def _placed(
    person: NDArray[np.float32], alpha: NDArray[np.float32], rng: np.random.Generator, side: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale, stretch, turn, flip and shift a cut-out on an empty square; close-ups leave the frame."""
    close = rng.random() < 0.2
    height = side * (rng.uniform(1.0, 2.0) if close else rng.uniform(0.35, 1.0))
    stretch = np.exp(rng.normal(0, 0.15)) if rng.random() < 0.5 else 1.0
    size = (max(2, round(height * stretch * person.shape[1] / person.shape[0])), max(2, round(height)))
    shrinks = height < person.shape[0]
    layers = np.dstack([person * alpha[..., None], alpha])  # premultiplied, so that resampling does not mix in black
    layers = cv2.resize(layers, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if rng.random() < 0.5:
        layers = np.ascontiguousarray(layers[:, ::-1])
    angle = rng.uniform(-45, 45) if rng.random() < 0.15 else rng.normal(0, 5)
    matrix = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), angle, 1.0)
    free = np.maximum(np.array([side - size[0], side - size[1]]), 0.2 * side) / 2
    # In a close-up the head and chest are more likely in the frame than the feet.
    down = (size[1] - side) / 2 * rng.uniform(0, 1) if close else 0.0
    matrix[:, 2] += side / 2 - np.array(size) / 2 + rng.uniform(-1, 1, 2) * free + np.array([0.0, down])
    layers = cv2.warpAffine(layers, matrix, (side, side), flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0, 0))
    alpha = np.clip(layers[..., 3], 0, 1).astype(np.float32)
    return (layers[..., :3] / np.maximum(alpha, 1e-3)[..., None]).astype(np.float32), alpha


def _shadowed(canvas: NDArray[np.float32], alpha: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Darken the background by the person's own shape, shifted and blurred."""
    side = alpha.shape[0]
    matrix = np.array([[1, rng.normal(0, 0.3), 0], [0, rng.uniform(0.3, 1.0), 0]], np.float64)
    matrix[:, 2] = rng.normal(0, 0.08, 2) * side + np.array([0, (1 - matrix[1, 1]) * side * 0.9])
    shadow = cv2.GaussianBlur(cv2.warpAffine(alpha, matrix, (side, side)), (0, 0), 0.02 * side)
    return canvas * np.asarray(1 - rng.uniform(0.1, 0.6) * shadow[..., None], np.float32)


def _photographed(image: Image, rng: np.random.Generator) -> Image:
    """Do what lenses, sensors and encoders do: exposure, haze, blur, noise, grey, JPEG; each now and then, mildly."""
    side = image.shape[0]
    x: NDArray[np.float32] = image.astype(np.float32)
    if rng.random() < 0.5:
        curve = np.arange(256) / 255
        curve = 255 * curve ** np.exp(rng.normal(0, 0.35)) * rng.uniform(0.4, 1.15)
        x = curve.astype(np.float32)[image]
    if rng.random() < 0.15:
        x = x + np.float32(rng.uniform(0.1, 0.6)) * (np.float32(rng.uniform(120, 240)) - x)
    if rng.random() < 0.3:
        x = np.asarray(cv2.GaussianBlur(x, (0, 0), rng.uniform(0.3, 1.8) * side / 320 + 0.1), np.float32)
    if rng.random() < 0.4:
        x = x + rng.standard_normal(x.shape, dtype=np.float32) * np.float32(rng.uniform(1, 18))
    if rng.random() < 0.08:
        x = np.repeat(x.mean(2, keepdims=True), 3, axis=2)
    result = np.clip(x, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        _, data = cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 96))])
        result = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return result
