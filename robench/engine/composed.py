"""Chains and mixtures made into pictures: several corruptions one after the other, as one condition.

Seed rule: the first part draws as the corruption alone does at that level, so a chain of one gives the pixels of its
corruption; part k > 1 adds ``part k`` to the key of its generator. What a mixture is made of is drawn from the seed,
the sample id and the mixture's version. The parameters name every part, so an index row replays without the recipe.

Between two parts, mask, depth, camera and scene follow the picture. They are moved once by all maps so far, not step by
step, so that nothing is resampled twice; what left the frame on the way stays lost, even if a later part moves its
place back into the frame.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench import registry
from robench.contracts import Affine, Camera, Corruption, Depth, Image, Mask, Params
from robench.engine.cells import Change, Picture, apply, draw_params, moved
from robench.engine.conditions import Chain, Mixture, Recipe
from robench.engine.inputs import Inputs
from robench.errors import NotComparable, SampleFailure
from robench.rng import generator


def makers(recipe: Recipe) -> dict[str, Composed]:
    """Return what makes the pictures of a recipe's chains and mixtures, by the names of their conditions."""
    return {name: Composed(made_of) for name, made_of in recipe.composed().items()}


class Composed:
    """Makes the pictures of a chain or a mixture.

    Args:
        made_of: The chain or mixture.
    """

    def __init__(self, made_of: Chain | Mixture) -> None:
        self.made_of = made_of

    @functools.cached_property
    def version(self) -> str:
        """Version of the condition: names everything that its pictures depend on."""
        return self.made_of.version()

    @functools.cached_property
    def _loaded(self) -> dict[str, Corruption]:
        return {name: registry.load("corruptions", name) for name in self.made_of.corruptions}

    def picture(self, inputs: Inputs, severity: int, seed: int) -> Picture:
        """Make one picture.

        Args:
            inputs: The clean sample.
            severity: 1..5, of the condition.
            seed: The user's seed.

        Raises:
            SampleFailure: If a file cannot be read or a corruption breaks its contract.
        """
        params = self.draw(inputs.sample.sample_id, severity, inputs.shape, seed)
        return moved(inputs, run(inputs.image, self._loaded, params, inputs), params, self.version)

    def draw(self, sample_id: str, severity: int, shape: tuple[int, int], seed: int) -> Params:
        """Draw the parts of an image and the parameters of each.

        Returns:
            ``{"parts": [{"corruption", "version", "severity", "params"}, ...]}`` in the order of application.

        Raises:
            SampleFailure: If a corruption draws something that JSON cannot hold.
        """
        parts = []
        chosen = self.made_of.parts_of(severity, generator(seed, sample_id, self.version))
        for position, (name, level) in enumerate(chosen, start=1):
            corruption = self._loaded[name]
            where = () if position == 1 else (f"part {position}",)
            params = draw_params(corruption, sample_id, level, shape, seed, *where)
            version = corruption.card.version
            parts.append({"corruption": name, "version": version, "severity": level, "params": params})
        return {"parts": parts}


def replayed(image: Image, params: Params, aux: Any) -> Image:
    """Make the picture of a chain again from the parameters of its index row.

    Args:
        image: (H, W, 3) uint8 clean picture.
        params: As `Composed.draw` returns them.
        aux: Has ``depth``, ``mask``, ``scene`` and ``camera`` of the clean picture, or None.

    Raises:
        NotComparable: If a corruption installed is of another version than the row's.
        SampleFailure: If a corruption cannot do it.
    """
    loaded = {name: registry.load("corruptions", name) for name in {part["corruption"] for part in params["parts"]}}
    for part in params["parts"]:
        found = loaded[part["corruption"]].card.version
        if found != part["version"]:
            raise NotComparable(
                f"The picture cannot be replayed by this version of '{part['corruption']}'",
                got=found,
                expected=part["version"],
            )
    return run(image, loaded, params, aux).image


def run(image: Image, corruptions: Mapping[str, Corruption], params: Params, aux: Any) -> Change:
    """Apply corruptions one after the other; what lies beside the picture follows it from part to part.

    Args:
        image: (H, W, 3) uint8 clean picture; not changed.
        corruptions: Loaded, by name.
        params: As `Composed.draw` returns them.
        aux: Has ``depth``, ``mask``, ``scene`` and ``camera`` of the clean picture, or None.

    Returns:
        The last picture and how all of it moved. The notes have an entry a part.

    Raises:
        SampleFailure: If a corruption fails, or moves pixels in a way that no camera can before another one looks at
            the camera.
    """
    beside = Beside(aux, (image.shape[0], image.shape[1]))
    notes = []
    for part in params["parts"]:
        change = apply(image, corruptions[part["corruption"]], part["params"], beside)
        beside = beside.after(change)
        image = change.image
        told: dict[str, Any] = {"corruption": part["corruption"], **({"notes": change.notes} if change.notes else {})}
        if change.affine is not None:
            told["affine"] = change.affine.tolist()
        if change.view_change is not None:
            told["view_change"] = change.view_change.tolist()
        notes.append(told)
    # Depth that no part asks for may be costly to have, and its absence is no failure of this picture.
    with_depth = any("depth" in corruptions[part["corruption"]].card.needs for part in params["parts"])
    return beside.change(image, {"parts": notes}, with_depth=with_depth)


class Beside:
    """Depth, mask, camera and scene of a picture to which a part of a chain has been applied.

    Each is made when first asked for.

    Args:
        clean: Has what lies beside the clean picture.
        shape: (H, W).
    """

    def __init__(self, clean: Any, shape: tuple[int, int]) -> None:
        self._clean, self._shape = clean, shape
        self._affine: Affine | None = None
        self._view_change: NDArray[np.float64] | None = None
        # The last mask and depth that a corruption drew, and the maps since then; None stands for the clean one.
        self._mask: Mask | None = None
        self._depth: Depth | None = None
        self._mask_moves: tuple[Affine, ...] = ()
        self._depth_moves: tuple[Affine, ...] = ()

    def after(self, change: Change) -> Beside:
        """Return what lies beside the picture after one more change."""
        new = Beside(self._clean, self._shape)
        new._view_change = self._turned(change.view_change)
        new._affine = self._affine if change.affine is None else composed_affine(change.affine, self._affine)
        move = () if change.affine is None else (change.affine,)
        new._mask, new._mask_moves = self._mask, (*self._mask_moves, *move)
        new._depth, new._depth_moves = self._depth, (*self._depth_moves, *move)
        if change.mask is not None:
            new._mask, new._mask_moves = change.mask, ()
        if change.depth is not None:
            new._depth, new._depth_moves = change.depth, ()
        return new

    def _turned(self, view_change: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        """Return the change of the view frame so far, so that it stands before all maps of pixels.

        A map of pixels that turns the picture turns the view frame too: a motion of the camera after it is, seen from
        before it, the same motion turned back.
        """
        if view_change is None:
            return self._view_change
        before = np.eye(4) if self._view_change is None else self._view_change
        if self._affine is None:
            return view_change @ before
        cos, sin = self._affine[:, 0] / np.hypot(*self._affine[:, 0])
        turn = np.eye(4)
        turn[:2, :2] = [[cos, sin], [-sin, cos]]
        return turn.T @ view_change @ turn @ before

    @functools.cached_property
    def mask(self) -> Mask | None:
        """(H, W) float32 true mask of the picture, or None."""
        mask: Mask | None = self._mask if self._mask is not None else self._clean.mask
        if mask is None or not self._mask_moves:
            return mask
        from robench.masking.carry import carried_mask

        lost = left_frame(self._mask_moves, self._shape)
        kept = mask if lost is None else np.where(lost, np.float32(0), mask)
        return carried_mask(kept, composed_affine(*reversed(self._mask_moves)), self._shape, soft=True)

    @functools.cached_property
    def depth(self) -> Depth | None:
        """(H, W) float32 metres of the picture, ``+inf`` where nothing is known; or None."""
        depth: Depth | None = self._depth if self._depth is not None else self._clean.depth
        if depth is None or not self._depth_moves:
            return depth
        from robench.masking.carry import carried_depth

        lost = left_frame(self._depth_moves, self._shape)
        kept = depth if lost is None else np.where(lost, np.float32(np.inf), depth)
        return carried_depth(kept, composed_affine(*reversed(self._depth_moves)))

    @functools.cached_property
    def camera(self) -> Camera | None:
        """The camera that would have taken the picture, or None where that of the clean one is not known.

        Raises:
            SampleFailure: If the pixels moved in a way that no camera can.
        """
        camera: Camera | None = getattr(self._clean, "camera", None)
        try:
            return None if camera is None else camera.followed(self._affine, self._view_change)
        except ValueError as error:
            raise SampleFailure("failed", str(error)) from error

    @functools.cached_property
    def scene(self) -> Any:
        """The mesh behind the picture as its camera sees it, or None."""
        scene = getattr(self._clean, "scene", None)
        if scene is None or (self._affine is None and self._view_change is None):
            return scene
        return scene.followed(self._view_change, self._affine)

    def change(self, image: Image, notes: Mapping[str, Any], *, with_depth: bool) -> Change:
        """Return all changes so far as one; mask and depth where moving the clean ones would not do.

        Args:
            image: (H, W, 3) uint8, the last picture.
            notes: What the corruptions said.
            with_depth: False leaves out the depth that no corruption drew.
        """
        from robench.masking.carry import quantised

        mask, depth = None, None
        if self._mask is not None or left_frame(self._mask_moves, self._shape) is not None:
            mask = None if self.mask is None else quantised(self.mask)
        if self._depth is not None or (with_depth and left_frame(self._depth_moves, self._shape) is not None):
            depth = self.depth
        return Change(image, self._affine, notes, self._view_change, mask, depth)


def composed_affine(last: Affine, *before: Affine | None) -> Affine:
    """Return one (2, 3) map for several, given from the last to the first; None moves nothing."""
    total = np.asarray(last, np.float64)
    for affine in before:
        if affine is not None:
            linear = total[:, :2]
            total = np.concatenate([linear @ affine[:, :2], (linear @ affine[:, 2] + total[:, 2])[:, None]], axis=1)
    return total


def left_frame(moves: tuple[Affine, ...], shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Return which pixels of a picture a map moved out of the frame and a later one would move back in.

    Args:
        moves: (2, 3) maps of pixels, in the order of application.
        shape: (H, W).

    Returns:
        (H, W) bool of the picture before the first map, or None if there is no such pixel.
    """
    if len(moves) < 2:
        return None
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(np.float64)
    lost = np.zeros(shape, bool)
    for a in moves[:-1]:
        x, y = a[0, 0] * x + a[0, 1] * y + a[0, 2], a[1, 0] * x + a[1, 1] * y + a[1, 2]
        lost |= (x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5)
    last = composed_affine(*reversed(moves))
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    u, v = (row[0] * x + row[1] * y + row[2] for row in last)
    far_u, far_v = np.abs(last[:, :2]).sum(axis=1)  # how far a resampled pixel spreads
    lost &= (u > -far_u) & (u < width - 1 + far_u) & (v > -far_v) & (v < height - 1 + far_v)
    return lost if lost.any() else None
