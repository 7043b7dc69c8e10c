"""Training items: pictures decoded once to memory, batches as pure functions of (seed, step)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.pifu.augment import draw, move_picture, move_points
from baselines.pifu.inputs import network_image, prepare, to_normalised
from baselines.pifu.sampling import Pool, choose, load_pool
from baselines.pifu.train_config import TrainConfig
from robench import rng as seeds
from robench.contracts import Camera, Sample
from robench.data.discover import open_dataset
from robench.errors import UsageError

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Item:
    """One decoded picture with its subject's points.

    Attributes:
        sample_id: Names it and its draws.
        image: (S, S, 3) uint8.
        mask: (S, S) uint8.
        camera: Of the square picture.
        pool: Of its subject, shared among views.
    """

    sample_id: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    camera: Camera
    pool: Pool


@dataclass(frozen=True)
class Batch:
    """Arrays of one step.

    Attributes:
        images: (B, 3, S, S) float32 in [-1, 1], background 0.
        points: (B, 3, N) float32 in normalised image space.
        targets: (B, 1, N) occupancies, or (B, 3, N) colours in [-1, 1].
        keys: Names of the images, if the same one may come again: equal names, equal bits.
    """

    images: Float
    points: Float
    targets: Float
    keys: tuple[str, ...] = ()


def opened(data: Path) -> tuple[list[Sample], list[Sample], dict[str, Any]]:
    """Return the training and validation samples of a data set, and what a checkpoint says of it."""
    dataset = open_dataset(data).dataset
    training, validation = (list(dataset.samples(data, split)) for split in ("train", "val"))
    return training, validation, {"dataset": dataset.card.name, "dataset_revision": dataset.revision(data)}


def plain_item(sample: Sample, config: TrainConfig, pool: Pool, cache: Path) -> Item:
    """Decode one picture that has mask and camera; see `load_items`."""
    from robench.io.images import read_image, read_mask

    assert sample.mask is not None
    assert sample.camera is not None
    image = read_image(sample.image)
    ready = prepare(image, read_mask(sample.mask, image.shape[:2]), sample.camera, config.network.image_size)
    return Item(sample.sample_id, ready.image, ready.mask, ready.camera, pool)


MakeItem = Callable[[Sample, Any, Pool, Path], Item]


def load_items(
    samples: Sequence[Sample],
    config: TrainConfig,
    cache: Path,
    tell: Callable[[str], None],
    workers: int = 4,
    make: MakeItem = plain_item,
) -> list[Item]:
    """Decode pictures and prepare points.

    Args:
        samples: Each with an image, mask, camera and mesh.
        config: Image size and the options of the points.
        cache: Folder of precomputed points.
        tell: Gets a line of progress now and then.
        workers: Threads.
        make: Makes an item of a sample, the options, its subject's points and the folder.

    Raises:
        UsageError: If a sample lacks what training needs.
        UnreadableInput: If a file cannot be read.
    """
    for sample in samples:
        lacking = [n for n in ("mask", "camera", "mesh") if getattr(sample, n) is None]
        if lacking:
            raise UsageError(f"Sample {sample.sample_id} cannot train PIFu", got=f"no {' and no '.join(lacking)}")
    pools: dict[Path, Pool] = {}
    meshes = sorted({s.mesh for s in samples if s.mesh is not None})

    def pool_of(mesh: Path) -> Pool:
        return load_pool(mesh, cache, config.pool, config.sigmas_cm, config.uniform_share, config.seed)

    def item_of(sample: Sample) -> Item:
        assert sample.mesh is not None
        return make(sample, config, pools[sample.mesh], cache)

    with ThreadPoolExecutor(workers) as threads:
        for done, (mesh, pool) in enumerate(zip(meshes, threads.map(pool_of, meshes), strict=True), 1):
            pools[mesh] = pool
            if done % 50 == 0 or done == len(meshes):
                tell(f"points of {done} of {len(meshes)} subjects")
        items = []
        for item in threads.map(item_of, samples):
            items.append(item)
            if len(items) % 500 == 0 or len(items) == len(samples):
                tell(f"decoded {len(items)} of {len(samples)} pictures")
    return items


def evenly(samples: Sequence[Sample], most: int) -> list[Sample]:
    """Return at most so many samples, spread evenly from the first to the last."""
    places = np.linspace(0, len(samples) - 1, min(most, len(samples))).round().astype(int)
    return [samples[i] for i in places]


def order(count: int, position: int, seed: int) -> int:
    """Return which item stands at a position of the endless, epoch-wise shuffled sequence."""
    epoch, place = divmod(position, count)
    return int(_permutation(count, epoch, seed)[place])


_LAST: dict[tuple[int, int, int], NDArray[np.int64]] = {}


def _permutation(count: int, epoch: int, seed: int) -> NDArray[np.int64]:
    key = (count, epoch, seed)
    if key not in _LAST:
        if len(_LAST) > 2:  # a batch spans at most two epochs
            _LAST.clear()
        _LAST[key] = seeds.generator(seed, "epoch", epoch).permutation(count)
    return _LAST[key]


def augmented(item: Item, world: Float, config: TrainConfig, rng: np.random.Generator) -> tuple[Float, Float]:
    """Return an item's network image (3, S, S) and normalised points (3, N) after one published augmentation."""
    size = item.image.shape[0]
    change = draw(rng, size, config.flip, config.zoom, config.shift)
    picture, mask = move_picture(item.image, item.mask, change)
    points = move_points(normalised(world, item.camera), change, size)
    return network_image(picture, mask), points.T


Shown = Callable[[Sequence[Item], Sequence[str]], Sequence[Item]]
"""From items and the names of the times at which each is shown to how they are shown: corrupted, perhaps."""


def as_they_are(items: Sequence[Item], turns: Sequence[str]) -> Sequence[Item]:
    """Show items as they are; see `Shown`."""
    return items


def shape_batch(items: Sequence[Item], config: TrainConfig, step: int, shown: Shown = as_they_are) -> Batch:
    """Return the shape net's batch of a step; depends on nothing but its arguments."""
    images, points, labels = [], [], []
    positions = range(step * config.batch, (step + 1) * config.batch)
    chosen = [items[order(len(items), position, config.seed)] for position in positions]
    for position, item in zip(positions, shown(chosen, [f"shape {p}" for p in positions]), strict=True):
        rng = seeds.generator(config.seed, item.sample_id, "pifu-shape", position)
        world, label = choose(item.pool, config.points, rng)
        image, moved = augmented(item, world, config, rng)
        images.append(image)
        points.append(moved)
        labels.append(label[None])
    return Batch(np.stack(images), np.stack(points), np.stack(labels))


def colour_batch(items: Sequence[Item], config: TrainConfig, step: int, shown: Shown = as_they_are) -> Batch:
    """Return the colour net's batch of a step: surface points moved along their normals, and their albedo."""
    images, points, colours = [], [], []
    positions = range(step * config.colour_batch, (step + 1) * config.colour_batch)
    drawn = [items[order(len(items), position, config.seed + 1)] for position in positions]
    for position, item in zip(positions, shown(drawn, [f"colour {p}" for p in positions]), strict=True):
        rng = seeds.generator(config.seed, item.sample_id, "pifu-colour", position)
        pool = item.pool
        if pool.colours is None:
            raise UsageError(f"Sample {item.sample_id} cannot train colours", got="a mesh without vertex colours")
        chosen = rng.integers(len(pool.surface), size=config.colour_points)
        off = rng.normal(0, config.colour_sigma_cm, (config.colour_points, 1)).astype(np.float32)
        world = pool.surface[chosen] + off * pool.normals[chosen]
        image, moved = augmented(item, world, config, rng)
        images.append(image)
        points.append(moved)
        colours.append(pool.colours[chosen].T.astype(np.float32) / np.float32(127.5) - np.float32(1))
    return Batch(np.stack(images), np.stack(points), np.stack(colours))


def validation_batch(item: Item, count: int, seed: int) -> Batch:
    """Return one item unaugmented with a fixed draw of points."""
    rng = seeds.generator(seed, item.sample_id, "pifu-validation")
    world, label = choose(item.pool, count, rng)
    points = normalised(world, item.camera).T[None]
    return Batch(network_image(item.image, item.mask)[None], points, label[None, None])


def normalised(world: Float, camera: Camera) -> Float:
    """Return world points (N, 3), centimetres, in the normalised coordinates of a camera's square picture."""
    m = camera.view_from_world
    view = world.astype(np.float64) @ m[:3, :3].T + m[:3, 3]
    return to_normalised(view, camera).astype(np.float32)
