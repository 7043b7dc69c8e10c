"""Corruptions as training-time augmentation, for a PyTorch ``Dataset`` and ``DataLoader``.

    transform = RandomCorruption(["fog_3d", "iso_noise", "h265_crf"], severities=(1, 2, 3), p=0.5, seed=0)
    loader = DataLoader(CorruptedDataset(dataset, transform), batch_size=16, num_workers=4, shuffle=True)
    for epoch in range(epochs):
        loader.dataset.set_epoch(epoch)
        ...

What happens to a sample depends on (seed, epoch, key) alone, never on the worker, the batch, the order or the global
generators. The key is the index in `CorruptedDataset`, whatever is given as ``key``, or else the pixels themselves.
Importing this module imports no torch; only tensors and `set_epoch` need it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import corruptions
from corruptions import _library
from corruptions._base import SEVERITIES, Aux, Corrupted, MissingInput
from corruptions._seeds import generator, pixel_key

if TYPE_CHECKING:
    import torch

CHOICE = "random_corruption@1"
"""Names the draw of probability, corruption and severity; goes up when they are drawn in another way."""


class RandomCorruption:
    """Corrupts a picture with some probability, by a corruption and a severity drawn from the seed.

    Args:
        names: Names to choose among with equal chances, or corruptions made with options. None takes every corruption
            that needs nothing beside the picture and moves no pixels.
        severities: Severities to choose among with equal chances.
        p: Probability that a sample is corrupted at all, in [0, 1].
        seed: The user's seed.
        image: Key of the picture where samples are mappings.
        depth: Key of the depth map (metres) where samples are mappings; read by the corruptions that need it.
        mask: Key of the person's mask where samples are mappings; it goes along with pixels that move.
        note: Key under which a mapping gets ``"name:severity"``, ``""`` where nothing was done; None for no such entry.

    Raises:
        ValueError: If a name or severity does not exist, there is none, or p is no probability.
    """

    def __init__(
        self,
        names: Sequence[Any] | None = None,
        severities: Sequence[int] = SEVERITIES,
        p: float = 1.0,
        seed: int = 0,
        *,
        image: str = "image",
        depth: str = "depth",
        mask: str = "mask",
        note: str | None = None,
    ) -> None:
        if isinstance(names, str):
            raise ValueError(f"names must be a list of names, got the string {names!r}; write [{names!r}]")
        chosen = harmless() if names is None else list(names)
        if not chosen:
            raise ValueError("a random corruption needs at least one name, got none")
        if not severities or any(isinstance(s, bool) or s not in SEVERITIES for s in severities):
            raise ValueError(f"severities must be whole numbers from 1 to 5, got {severities!r}")
        if not 0 <= p <= 1:
            raise ValueError(f"p must be a probability from 0 to 1, got {p!r}")
        self.corruptions = [_library.made(name) for name in chosen]
        self.severities = [int(s) for s in severities]
        self.p, self.seed = float(p), int(seed)
        self.image, self.depth, self.mask, self.note = image, depth, mask, note
        self._epoch: torch.Tensor | None = None

    def __repr__(self) -> str:
        names = [c.card.name for c in self.corruptions]
        return f"RandomCorruption({names}, severities={self.severities}, p={self.p:g}, seed={self.seed})"

    @property
    def epoch(self) -> int:
        """The epoch, part of every draw; 0 unless `set_epoch` was called."""
        return 0 if self._epoch is None else int(self._epoch)

    def share(self) -> None:
        """Put the epoch into shared memory, so that workers started from now on see later calls of `set_epoch`."""
        if self._epoch is None:
            import torch

            self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; running workers see it if `share` was called before they started."""
        self.share()
        assert self._epoch is not None
        self._epoch.fill_(int(epoch))

    def __call__(self, sample: Any, key: str | int | None = None) -> Any:
        """Return the sample with its picture corrupted.

        Args:
            sample: A picture; or a mapping that has one, perhaps with depth and mask; or a tuple or list that starts
                with one. A picture is a uint8 array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); a tensor (H, W) or
                (C, H, W) of 1, 3 or 4 channels, uint8 or floating point from 0 to 1; or a PIL image of mode L, RGB or
                RGBA.
            key: What names the sample: an id, an index. None takes the pixels.

        Returns:
            The same kind of sample; pictures, depth maps and masks keep their type and shape. A mapping becomes a new
            dict, with depth and mask moved along where the corruption moves pixels.

        Raises:
            TypeError: If the picture is of no such kind.
            ValueError: If a value or shape cannot be.
            MissingInput: If the corruption drawn needs a depth map and the sample has none.
        """
        if isinstance(sample, Mapping):
            if self.image not in sample:
                raise ValueError(f"the sample has no {self.image!r}, only {', '.join(map(repr, sample))}; see image=")
            return self._mapping(sample, key)
        if isinstance(sample, tuple | list):
            first = self._one(sample[0], key, Aux())[0]
            rest = [first, *sample[1:]]
            return type(sample)._make(rest) if hasattr(sample, "_make") else type(sample)(rest)
        return self._one(sample, key, Aux())[0]

    def _mapping(self, sample: Mapping[Any, Any], key: str | int | None) -> dict[Any, Any]:
        result = dict(sample)
        aux = _library.beside(_plane(sample.get(self.depth)), _plane(sample.get(self.mask)))
        result[self.image], done, note = self._one(sample[self.image], key, aux)
        if self.note is not None:
            result[self.note] = note
        for name, drawn, outside in ((self.mask, "mask", 0.0), (self.depth, "depth", np.inf)):
            if done is not None and sample.get(name) is not None:
                result[name] = _followed(sample[name], getattr(done, drawn), done, outside)
        return result

    def _one(self, picture: Any, key: str | int | None, aux: Aux) -> tuple[Any, Corrupted | None, str]:
        """Return the picture, what was done to it, and the note."""
        array, back = _opened(picture)
        name = pixel_key(array) if key is None else str(key)
        rng = generator(self.seed, name, CHOICE, self.epoch)
        # All three are drawn, whatever p says, so that another p changes only how many samples are touched.
        chance = rng.random()
        corruption = self.corruptions[int(rng.integers(len(self.corruptions)))]
        severity = self.severities[int(rng.integers(len(self.severities)))]
        if chance >= self.p:
            return picture, None, ""
        card = corruption.card
        if "depth" in card.needs and aux.depth is None:
            raise MissingInput(
                f"{card.name} needs a depth map, got none; expected (H, W) metres as {self.depth!r} of a mapping"
            )
        result = _library.run(array, corruption, severity, self.seed, f"{name}@{self.epoch}", aux)
        return back(result.image), result.corrupted, f"{card.name}:{severity}"


class CorruptedDataset:
    """A map-style data set whose samples go through a `RandomCorruption` that knows their index.

    Args:
        dataset: Anything with ``__len__`` and ``__getitem__``.
        transform: The corruption. Its epoch is put into shared memory, so that `set_epoch` reaches persistent workers.
    """

    def __init__(self, dataset: Any, transform: RandomCorruption) -> None:
        transform.share()
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        """Return a sample, corrupted by (seed, epoch, index)."""
        at = int(index)
        at += len(self) if at < 0 else 0
        return self.transform(self.dataset[at], key=at)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, in this process and in its workers."""
        self.transform.set_epoch(epoch)


def harmless() -> list[str]:
    """Return the names of the corruptions that need nothing beside the picture and move no pixels."""
    loaded = {name: corruptions.load(name) for name in corruptions.names()}
    return [name for name, c in loaded.items() if not c.card.needs and not c.moves_pixels]


def _opened(picture: Any) -> tuple[NDArray[np.uint8], Callable[[NDArray[np.uint8]], Any]]:
    """Return a picture as an array, and what turns such an array into the picture's own kind."""
    if isinstance(picture, np.ndarray):
        return picture, lambda array: array
    if _is_tensor(picture):
        return _opened_tensor(picture)
    if hasattr(picture, "convert") and hasattr(picture, "mode"):
        from PIL import Image

        if picture.mode not in ("L", "RGB", "RGBA"):
            raise TypeError(f"a PIL image must be L, RGB or RGBA, got {picture.mode}; use convert('RGB')")
        return np.asarray(picture), Image.fromarray
    raise TypeError(f"a picture must be a NumPy array, a tensor or a PIL image, got {type(picture).__name__}")


def _opened_tensor(picture: torch.Tensor) -> tuple[NDArray[np.uint8], Callable[[NDArray[np.uint8]], Any]]:
    import torch

    if picture.ndim not in (2, 3) or (picture.ndim == 3 and picture.shape[0] not in (1, 3, 4)):
        raise ValueError(
            f"a tensor must be (H, W), (1, H, W), (3, H, W) or (4, H, W), got {tuple(picture.shape)}; "
            "one picture at a time, channels first"
        )
    values = picture.detach().cpu()
    # NumPy has no bfloat16.
    array = (values.float() if picture.dtype == torch.bfloat16 else values).numpy()
    if picture.is_floating_point():
        if not (array.min() >= 0 and array.max() <= 1):
            raise ValueError(
                f"a floating-point picture must have values from 0 to 1, got {array.min():g} to {array.max():g}; "
                "corrupt before you normalise"
            )
        array = np.rint(array.astype(np.float32) * np.float32(255)).astype(np.uint8)
    elif picture.dtype != torch.uint8:
        raise TypeError(f"a tensor must be uint8 or floating point, got {picture.dtype}")
    if picture.ndim == 3:
        array = np.ascontiguousarray(np.moveaxis(array, 0, -1))

    def back(result: NDArray[np.uint8]) -> torch.Tensor:
        moved = np.moveaxis(result, -1, 0) if picture.ndim == 3 else result
        tensor = torch.from_numpy(np.ascontiguousarray(moved))
        if picture.is_floating_point():
            tensor = tensor.to(picture.dtype) / 255
        return tensor.to(picture.device)

    return array, back


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "is_floating_point") and hasattr(value, "detach")


def _plane(value: Any) -> NDArray[Any] | None:
    """Return the (H, W) array of a depth map or mask, or None."""
    if value is None:
        return None
    array = np.asarray(value.detach().cpu()) if _is_tensor(value) else np.asarray(value)
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        return array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim != 2:
        raise ValueError(f"a depth map or mask must be (H, W), (1, H, W) or (H, W, 1), got {array.shape}")
    return array


def _followed(value: Any, drawn: NDArray[Any] | None, done: Corrupted, outside: float) -> Any:
    """Return a depth map or mask of the corrupted picture, in the kind of the one before."""
    plane = _plane(value)
    if plane is None:
        return value
    if drawn is not None:
        moved = _as_type(drawn, plane)
    elif done.affine is None:
        return value
    else:
        from corruptions._pixels import warp

        # By the nearest pixel, so that depths and labels are never mixed.
        source = np.ascontiguousarray(plane, np.uint8 if plane.dtype.kind == "b" else plane.dtype)
        moved = warp(source, done.affine, interpolation="nearest", fill=outside).astype(plane.dtype)
    moved = moved.reshape(tuple(value.shape) if hasattr(value, "shape") else plane.shape)
    if not _is_tensor(value):
        return moved
    import torch

    return torch.from_numpy(moved).to(device=value.device, dtype=value.dtype)


def _as_type(values: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """Return a drawn map in the type of another; a mask of whole numbers reaches to 255 or to 1, as that one does."""
    if like.dtype.kind in "ui":
        values = np.rint(values * (255 if like.max() > 1 else 1))
    elif like.dtype.kind == "b":
        values = values >= 0.5
    return values.astype(like.dtype)
