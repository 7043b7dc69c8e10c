"""Training batches whose pictures come again, and the cache of what frozen networks said of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.fusion.network import Priors
from baselines.fusion.train_config import FusionTrainConfig
from baselines.pifu.items import Batch, Item, Shown, as_they_are, augmented, order
from baselines.pifu.sampling import choose
from robench import rng as seeds
from robench.io.files import atomic_path

_IN_MEMORY = 2 * 2**30  # bytes; what is beyond is read from disk again


def fusion_batch(items: Sequence[Item], config: FusionTrainConfig, step: int, shown: Shown = as_they_are) -> Batch:
    """Return the batch of a step; depends on nothing but its arguments.

    A picture has ``config.draws`` augmentations that take turns over the epochs, so that its priors are computed that
    often and no more; its points are drawn anew each time. Without draws every augmentation is new.

    Args:
        items: To train on.
        config: The options.
        step: Its number.
        shown: How items are shown. A turn has one name whenever it comes, so a corruption is drawn once for each.
    """
    positions = range(step * config.batch, (step + 1) * config.batch)
    chosen = [items[order(len(items), position, config.seed)] for position in positions]
    turns = [position // len(items) % config.draws if config.draws else position for position in positions]
    images, points, labels, keys = [], [], [], []
    for position, turn, item in zip(positions, turns, shown(chosen, [f"fusion {t}" for t in turns]), strict=True):
        rng = seeds.generator(config.seed, item.sample_id, "fusion-points", position)
        world, label = choose(item.pool, config.points, rng)
        rng = seeds.generator(config.seed, item.sample_id, "fusion-picture", turn)
        image, moved = augmented(item, world, config, rng)
        images.append(image)
        points.append(moved)
        labels.append(label[None])
        keys.append(picture_key(image) if config.draws else "")
    return Batch(np.stack(images), np.stack(points), np.stack(labels), tuple(keys))


def picture_key(image: NDArray[np.float32]) -> str:
    """Return the name of a picture for `PriorCache`: by its bits, so that no two share one."""
    return hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()


class PriorCache:
    """Priors of pictures by name, kept in memory and in a folder.

    Normals are kept as float16, and are rounded so from the first time on: a resumed run sees the same numbers.

    Args:
        folder: Of one set of frozen networks and one protocol; see `FusionRun`.
        compute: The priors of (B, 3, H, W) pictures.
        together: Pictures that are computed at once.

    Attributes:
        computed: Pictures computed since the start.
    """

    def __init__(self, folder: Path, compute: Callable[[Tensor], Priors], together: int) -> None:
        self.folder, self.computed = folder, 0
        self._compute, self._together = compute, together
        self._kept: dict[str, dict[str, NDArray[np.floating]]] = {}
        self._bytes = 0

    def __call__(self, images: Tensor, keys: Sequence[str]) -> Priors:
        """Return the priors of pictures.

        Args:
            images: (B, 3, H, W) on the device.
            keys: A name each, see `picture_key`; empty for a picture that will not come again.
        """
        found = [self._read(key) for key in keys]
        missing = [i for i, arrays in enumerate(found) if arrays is None]
        for start in range(0, len(missing), self._together):
            part = missing[start : start + self._together]
            priors = self._compute(images[part])
            self.computed += len(part)
            for row, i in enumerate(part):
                arrays: dict[str, NDArray[np.floating]] = {}
                if priors.clip is not None:
                    arrays["clip"] = priors.clip[row].float().cpu().numpy()
                if priors.normals is not None:
                    arrays["normals"] = priors.normals[row].to(torch.float16).cpu().numpy()
                found[i] = arrays
                if keys[i]:
                    self._write(keys[i], arrays)
        ready = [arrays for arrays in found if arrays is not None]

        def together(name: str) -> Tensor | None:
            if name not in ready[0]:
                return None
            stacked = np.stack([arrays[name] for arrays in ready]).astype(np.float32)
            return torch.from_numpy(stacked).to(images.device)

        return Priors(together("clip"), together("normals"))

    def _path(self, key: str) -> Path:
        return self.folder / f"{key[:24]}.npz"

    def _read(self, key: str) -> dict[str, NDArray[np.floating]] | None:
        if not key:
            return None
        if key in self._kept or not self._path(key).is_file():
            return self._kept.get(key)
        with np.load(self._path(key), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        self._remember(key, arrays)
        return arrays

    def _write(self, key: str, arrays: dict[str, NDArray[np.floating]]) -> None:
        with atomic_path(self._path(key)) as temporary:
            np.savez(temporary, allow_pickle=False, **arrays)
        self._remember(key, arrays)

    def _remember(self, key: str, arrays: dict[str, NDArray[np.floating]]) -> None:
        size = sum(array.nbytes for array in arrays.values())
        if self._bytes + size <= _IN_MEMORY:
            self._kept[key] = arrays
            self._bytes += size
