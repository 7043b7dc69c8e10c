"""Training items of PIFuHD: both levels' pictures with rendered normals, batches as pure functions of (seed, step).

Normals are of the view frame (x right, y up, z towards the viewer) and 0 where there is no person; the back's are those
of the surface that each ray leaves last. What a published file's normal networks say is that file's own matter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from baselines.pifu.augment import Draw, draw, move_points
from baselines.pifu.items import Batch, Item, normalised, order
from baselines.pifu.sampling import Pool, choose
from baselines.pifuhd.inputs import network_image, prepare, square_of
from baselines.pifuhd.train_config import PifuHDTrainConfig
from robench import rng as seeds
from robench.contracts import Camera, Mesh, Sample
from robench.errors import UsageError
from robench.io.files import atomic_path, sha256_file

Level = Literal["normals", "coarse", "fine"]
LEVELS: tuple[Level, ...] = ("normals", "coarse", "fine")
"""In the order of training: each is frozen when the next one begins."""
Float = NDArray[np.float32]
_VERSION = 1
_STEPS = 127.0  # of a component, as it is kept


@dataclass(frozen=True)
class HDItem(Item):
    """One decoded picture: `image` and `mask` as the coarse level's square, `camera` of the fine one.

    Attributes:
        fine: (S, S, 3) uint8, the same square as the fine level sees it.
        normals: (s, s, 6) int8: 127 times the front's and the back's normals; 0 beside the person.
    """

    fine: NDArray[np.uint8] = field(kw_only=True)
    normals: NDArray[np.int8] = field(kw_only=True)


@dataclass(frozen=True)
class HDBatch(Batch):
    """Arrays of one step; those that its level does not need are empty.

    Attributes:
        normals: (B, 6, s, s) float32, front and back.
        fine: (B, 3, w, w) float32 in [-1, 1]: a window of the fine picture, or all of it.
        corners: (B, 2) left and upper pixel of the window in the fine picture.
    """

    normals: Float = field(kw_only=True)
    fine: Float = field(kw_only=True)
    corners: NDArray[np.int64] = field(kw_only=True)


def hd_item(sample: Sample, config: PifuHDTrainConfig, pool: Pool, cache: Path) -> HDItem:
    """Decode a sample that has mask, camera and mesh, cropped around its mask as in evaluation.

    Args:
        sample: The sample.
        config: The options.
        pool: Its subject's points.
        cache: Folder of rendered normals.

    Raises:
        UsageError: If its mask is blank.
    """
    from robench.io.images import read_image, read_mask

    assert sample.mask is not None
    assert sample.camera is not None
    assert sample.mesh is not None
    image = read_image(sample.image)
    mask = read_mask(sample.mask, image.shape[:2])
    square = square_of((image.shape[0], image.shape[1]), mask, "mask")
    if square is None:
        raise UsageError(f"Sample {sample.sample_id} cannot train PIFuHD", got="a mask without a person")
    size = config.hd.coarse_size
    ready = prepare(image, sample.camera, square, size, config.hd.fine_size)
    camera = ready.camera.resized(size, size)
    normals = _kept_normals(sample.mesh, camera, cache)
    # Where the front's ray hits: the mask of this very square.
    shape = np.where(normals[..., :3].any(axis=2), np.uint8(255), np.uint8(0))
    return HDItem(sample.sample_id, ready.coarse, shape, ready.camera, pool, fine=ready.fine, normals=normals)


def _kept_normals(mesh: Path, camera: Camera, cache: Path) -> NDArray[np.int8]:
    facts = json.dumps([_VERSION, sha256_file(mesh), camera.to_json()], sort_keys=True)
    file = cache / f"normals-{hashlib.sha256(facts.encode()).hexdigest()[:16]}.npz"
    if not file.is_file():
        from robench.io.meshes import read_mesh

        maps = normal_maps(read_mesh(mesh), camera)
        kept: NDArray[np.int8] = np.rint(maps * _STEPS).astype(np.int8)
        with atomic_path(file) as temporary:
            np.savez_compressed(temporary, allow_pickle=False, normals=kept)
        return kept
    with np.load(file, allow_pickle=False) as stored:
        found: NDArray[np.int8] = stored["normals"]
        return found


def normal_maps(mesh: Mesh, camera: Camera) -> Float:
    """Return (H, W, 6) unit normals of a mesh in the view frame: the front's, then the back's; 0 beside the person.

    Args:
        mesh: World centimetres.
        camera: Whose rays are asked, one a pixel; its width and height are the maps'.
    """
    from robench.rendering import RayScene

    scene = RayScene(mesh)
    return np.concatenate([scene.cast(camera, last=last).normals for last in (False, True)], axis=2)


def warped(array: NDArray[np.generic], change: Draw, reach: int) -> NDArray[np.generic]:
    """Let a square picture (S, S, C), uint8 or float32, follow an augmentation; bilinear, 0 beyond the edges.

    Args:
        array: The picture.
        change: Drawn for pictures of side `reach`; `baselines.pifu.augment.move_points` moves points alike.
        reach: See `change`.
    """
    import cv2

    if change == Draw():
        return array
    size = array.shape[0]

    def line(scale: float, shift: float) -> tuple[float, float]:
        # Normalised coordinates of pixel p are (2 p + 1) / S - 1: from the old to the new pixel.
        return scale, (scale - scale * size - shift * size + size - 1) / 2

    (a, x), (b, y) = (
        line(-change.zoom if change.flip else change.zoom, 2 * change.dx / reach),
        line(change.zoom, 2 * change.dy / reach),
    )
    matrix = np.array([[a, 0.0, x], [0.0, b, y]])
    moved: NDArray[np.generic] = cv2.warpAffine(array, matrix, (size, size), flags=cv2.INTER_LINEAR)
    return moved


def warped_normals(normals: NDArray[np.int8], change: Draw) -> Float:
    """Return (6, s, s) float32 normals of an augmented picture: a mirrored one turns their x around."""
    maps = normals.astype(np.float32) / np.float32(_STEPS)
    moved = np.concatenate(
        [np.asarray(warped(np.ascontiguousarray(part), change, len(maps))) for part in (maps[..., :3], maps[..., 3:])],
        axis=2,
    ).astype(np.float32)
    if change.flip:
        moved[..., [0, 3]] *= -1
    return np.ascontiguousarray(moved.transpose(2, 0, 1))


def level_batch(items: Sequence[HDItem], config: PifuHDTrainConfig, step: int, level: Level) -> HDBatch:
    """Return the batch of a step of a level; depends on nothing but its arguments."""
    parts = []
    for position in range(step * config.batch, (step + 1) * config.batch):
        item = items[order(len(items), position, config.seed + LEVELS.index(level))]
        rng = seeds.generator(config.seed, item.sample_id, f"pifuhd-{level}", position)
        change = draw(rng, len(item.image), config.flip, config.zoom, config.shift)
        parts.append(_part(item, config, change, level, rng))
    return _stacked(parts)


def validation_batch(item: HDItem, config: PifuHDTrainConfig) -> HDBatch:
    """Return one item unaugmented and whole, with a fixed draw of points."""
    rng = seeds.generator(config.seed, item.sample_id, "pifuhd-validation")
    world, labels = choose(item.pool, config.val_points, rng)
    normals, image = warped_normals(item.normals, Draw()), network_image(item.image)
    points = normalised(world, item.camera).T
    return _stacked([(image, normals, points, labels[None], network_image(item.fine), (0, 0))])


_Part = tuple[Float, Float, Float, Float, Float, tuple[int, int]]


def _part(item: HDItem, config: PifuHDTrainConfig, change: Draw, level: Level, rng: np.random.Generator) -> _Part:
    side = len(item.image)
    image = network_image(np.asarray(warped(item.image, change, side), np.uint8))
    normals = warped_normals(item.normals, change)
    points, labels = np.zeros((3, 0), np.float32), np.zeros((1, 0), np.float32)
    fine, corner = np.zeros((3, 0, 0), np.float32), (0, 0)
    if level == "coarse":
        world, chosen = choose(item.pool, config.points, rng)
        points, labels = move_points(normalised(world, item.camera), change, side).T, chosen[None]
    elif level == "fine":
        points, labels, corner = _in_a_window(item, config, change, rng)
        left, top = corner
        picture = np.asarray(warped(item.fine, change, side), np.uint8)
        fine = network_image(picture[top : top + config.window, left : left + config.window])
    return image, normals, points, labels, fine, corner


def _in_a_window(
    item: HDItem, config: PifuHDTrainConfig, change: Draw, rng: np.random.Generator
) -> tuple[Float, Float, tuple[int, int]]:
    """Lay a window around a random point of the body; return its points (3, N), labels (1, N) and corner."""
    size, window = config.hd.fine_size, config.window
    cell = 4 if config.hd.fine_down != "no_down" else 2
    sets = [
        move_points(normalised(world, item.camera), change, len(item.image))
        for world in (item.pool.inside, item.pool.outside)
    ]
    middle = sets[0][rng.integers(len(sets[0]))]
    wish = np.clip((middle[:2] + 1) * size / 2 - window / 2, 0, size - window)
    left, top = (int(value) // cell * cell for value in wish)
    low = np.array([left, top]) * 2 / size - 1
    seen = [
        points[((points[:, :2] >= low) & (points[:, :2] <= low + 2 * window / size)).all(axis=1)] for points in sets
    ]
    if len(seen[0]) == 0:  # the point itself was moved out of the picture
        seen[0] = sets[0]
    if len(seen[1]) == 0:
        seen[1] = sets[1]
    counts = (config.points // 2, config.points - config.points // 2)
    drawn = [points[rng.integers(len(points), size=count)] for points, count in zip(seen, counts, strict=True)]
    labels = np.repeat(np.array([1, 0], np.float32), counts)
    return np.concatenate(drawn).T, labels[None], (left, top)


def _stacked(parts: Sequence[_Part]) -> HDBatch:
    images, normals, points, labels, fine, corners = zip(*parts, strict=True)
    return HDBatch(
        np.stack(images),
        np.stack(points),
        np.stack(labels),
        normals=np.stack(normals),
        fine=np.stack(fine),
        corners=np.array(corners),
    )
