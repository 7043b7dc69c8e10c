"""From an occupancy field to a mesh: coarse to fine near the surface, and the same mesh as the dense grid's.

A coarse lattice is evaluated everywhere. Cells that straddle the level, or nearly do, are refined; at each level the
surface is then followed: a straddling cell with an unevaluated corner gets it evaluated, until none is left. So every
sheet of surface that is found anywhere is found whole, with exactly the values that the dense grid would have there:
a limb cannot be lost, however thin, while it hangs on a body. What hangs on nothing is found where it is wider than the
second lattice inside the silhouette (as by the published octree), and than the first one outside.

Everything is a tensor operation over all samples of a batch, on the device of the field.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Field = Callable[[Tensor], Tensor]
"""Maps sorted (N,) numbers of nodes, ``((sample * n + x) * n + y) * n + z`` with n = resolution + 1 and node i of an
axis at ``-1 + 2 i / resolution``, to (N,) occupancies."""
LEVEL = 0.5
FIRST = 32
# A cell this close to the level may hide a limb thinner than the lattice: refine it too. The first cells are wide, and
# a field has room in them to rise from nearly nothing and fall again.
_FIRST_MARGIN, _MARGIN = 0.45, 0.3
# On the finest lattice, how close to the level the values interpolated from its parent may come unasked.
_BAND = 0.1
_CORNERS = torch.tensor([(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)])
_CHILDREN = torch.tensor([(a, b, c) for a in (0, 1, 2) for b in (0, 1, 2) for c in (0, 1, 2)])
# Below this many numbers sorting beats marking them in an array as large as the lattice.
_FEW = 100_000


@dataclass(frozen=True)
class Volume:
    """Occupancies on the published lattice: node i of an axis is at ``-1 + 2 i / resolution``.

    Attributes:
        values: (R, R, R) float32; exact at every corner of a cell that straddles the level, elsewhere only on the right
            side of it.
        evaluated: Points asked for.
    """

    values: Tensor
    evaluated: int


def check_resolution(resolution: int) -> int:
    """Return the number of halvings between the first lattice and the grid.

    Raises:
        ValueError: If the resolution is no power of two between 16 and 1024.
    """
    if resolution < 16 or resolution > 1024 or resolution & (resolution - 1):
        raise ValueError(f"the resolution must be a power of two from 16 to 1024, got {resolution}")
    return max(1, (resolution // FIRST).bit_length() - 1)


def first_cells(resolution: int) -> int:
    """Return the number of cells an axis of the first lattice."""
    return resolution >> check_resolution(resolution)


def silhouette(mask: Tensor, resolution: int) -> Tensor:
    """Return which columns of the first lattice's cells a person's silhouette touches.

    Args:
        mask: (S, S), positive on the person; rows downwards.
        resolution: Of the grid.

    Returns:
        (C, C) bool by x and y, y upwards.
    """
    cells = first_cells(resolution)
    touched = F.adaptive_max_pool2d((mask > 0).to(torch.float32)[None, None], cells)[0, 0] > 0
    return touched.flip(0).t()


def refine(field: Field, resolution: int, focus: Tensor, device: torch.device | str = "cpu") -> list[Volume]:
    """Evaluate the fields of some samples where their level sets need it.

    Args:
        field: Of all samples.
        resolution: Nodes an axis, a power of two from 16.
        focus: (samples, C, C) columns of the first lattice's cells (see `silhouette`) that are refined once whatever
            their corners say, so that nothing as wide as half a cell is missed there.
        device: Of the field.

    Returns:
        A volume a sample. Samples do not enter each other's.
    """
    halvings = check_resolution(resolution)
    samples, finest = len(focus), resolution + 1
    nodes = (resolution >> halvings) + 1
    evaluated = torch.zeros(samples, dtype=torch.int64, device=device)

    def ask(flat: Tensor) -> Tensor:
        stride = resolution // (nodes - 1)
        evaluated.add_(torch.bincount(flat // nodes**3, minlength=samples))
        rest, keys = flat, torch.zeros_like(flat)
        for place in (1, finest, finest**2):
            keys += rest % nodes * (stride * place)
            rest = rest // nodes
        return field(keys + rest * finest**3).to(torch.float32)

    values = ask(torch.arange(samples * nodes**3, device=device)).reshape(samples, nodes, nodes, nodes)
    known = torch.ones(values.shape, dtype=torch.bool, device=device)
    for level in range(halvings):
        active = _near(values, _MARGIN if level else _FIRST_MARGIN)
        last = level == halvings - 1
        if level == 0:
            active |= focus[..., None]
        cells = _where(active)
        at = _nodes(cells, nodes - 1, _CORNERS, nodes)
        guesses = _interpolated(values.reshape(-1)[at].reshape(-1, 2, 2, 2))
        wanted = _promising(guesses) if last and level else torch.ones_like(guesses, dtype=torch.bool)
        children = _nodes(cells, nodes - 1, _CHILDREN, 2 * nodes - 1, double=True)
        nodes = 2 * nodes - 1
        values = _upsampled(values)
        flat = values.reshape(-1)
        flat[children.reshape(-1)] = guesses.reshape(-1)
        # Not every node of a coarser lattice was asked: the surface may be followed into what looked empty there.
        before, known = known, torch.zeros(values.shape, dtype=torch.bool, device=device)
        known[:, ::2, ::2, ::2] = before
        need = torch.zeros_like(known)
        need.reshape(-1)[children[wanted.reshape(children.shape)]] = True
        if last:
            # The lattice has nodes at +1 that the published grid lacks.
            known[:, -1], known[:, :, -1], known[..., -1] = True, True, True
            _border_matter(need, values, resolution)
        todo, asked = _where(need & ~known), known.reshape(-1)
        scratch = need.reshape(-1).zero_()
        while len(todo):
            flat[todo] = ask(todo)
            asked[todo] = True
            todo = _frontier(todo, flat, asked, nodes, scratch)
    counts = evaluated.tolist()
    return [Volume(values[i, :-1, :-1, :-1], counts[i]) for i in range(samples)]


def _near(values: Tensor, margin: float) -> Tensor:
    """Return which cells' corner range comes within `margin` of the level."""
    high, low = _range(values)
    return (high > LEVEL - margin) & (low < LEVEL + margin)


def _range(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the greatest and the least corner of each cell of (B, n, n, n) nodes."""
    high, low = values, values
    for axis in (1, 2, 3):
        n = values.shape[axis] - 1
        high = torch.maximum(high.narrow(axis, 0, n), high.narrow(axis, 1, n))
        low = torch.minimum(low.narrow(axis, 0, n), low.narrow(axis, 1, n))
    return high, low


def _where(marks: Tensor) -> Tensor:
    """Return the sorted flat numbers of the true elements."""
    if marks.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(marks.numpy()))  # eight times as fast as torch's
    found: Tensor = marks.reshape(-1).nonzero()[:, 0]
    return found


def _distinct(numbers: Tensor, scratch: Tensor) -> Tensor:
    """Return the sorted different numbers; `scratch` is a flat, blank array of flags, and is left so."""
    found: Tensor
    if len(numbers) < _FEW:
        found = torch.unique(numbers)
    else:
        scratch[numbers] = True
        found = _where(scratch)
        scratch[found] = False
    return found


def _nodes(cells: Tensor, side: int, offsets: Tensor, nodes: int, *, double: bool = False) -> Tensor:
    """Return the (M, K) flat numbers of nodes at K offsets from the lowest corners of M cells.

    Args:
        cells: (M,) flat numbers of cells, `side` an axis.
        side: Cells an axis.
        offsets: (K, 3).
        nodes: Nodes an axis of the lattice to name them in.
        double: Whether that lattice is twice as fine as the cells'.
    """
    step = 2 if double else 1
    z, rest = cells % side, cells // side
    y, rest = rest % side, rest // side
    x, sample = rest % side, rest // side
    base = ((sample * nodes + step * x) * nodes + step * y) * nodes + step * z
    ahead: Tensor = offsets @ torch.tensor([nodes * nodes, nodes, 1])
    numbers: Tensor = base[:, None] + ahead.to(cells.device)
    return numbers


def _interpolated(corners: Tensor) -> Tensor:
    """Return the (M, 3, 3, 3) nodes of cells halved, from their (M, 2, 2, 2) corners."""
    # Axis by axis, so that cells that share a face agree on its nodes to the last bit.
    for axis in (1, 2, 3):
        a, b = corners.narrow(axis, 0, 1), corners.narrow(axis, 1, 1)
        corners = torch.cat([a, (a + b) / 2, b], dim=axis)
    return corners


def _promising(guesses: Tensor) -> Tensor:
    """Return which (M, 3, 3, 3) nodes belong to a halved cell whose interpolated range comes near the level."""
    near = _near(guesses, _BAND)
    wanted = torch.zeros_like(guesses, dtype=torch.bool)
    for a, b, c in _CORNERS.tolist():
        wanted[:, a : a + 2, b : b + 2, c : c + 2] |= near
    return wanted


def _upsampled(values: Tensor) -> Tensor:
    """Return the next finer lattice, each new node with the value of the coarse node below it."""
    # An unrefined cell has all corners on one side, so any corner's value puts its inner nodes on the right side.
    b, n = values.shape[:2]
    fine = values.new_empty(b, 2 * n - 1, 2 * n - 1, 2 * n - 1)
    for i in (0, 1):
        for j in (0, 1):
            for k in (0, 1):
                fine[:, i::2, j::2, k::2] = values[:, : n - i, : n - j, : n - k]
    return fine


def _border_matter(need: Tensor, values: Tensor, resolution: int) -> None:
    """Mark the nodes of the grid's outermost layers that are inside: it counts as empty beyond."""
    for axis in (1, 2, 3):
        for end in (0, resolution - 1):
            need.select(axis, end).logical_or_(values.select(axis, end) > LEVEL)


def _frontier(fresh: Tensor, values: Tensor, known: Tensor, nodes: int, scratch: Tensor) -> Tensor:
    """Return unevaluated corners of straddling cells that touch freshly evaluated nodes."""
    at = torch.stack([fresh // (nodes * nodes) % nodes, fresh // nodes % nodes, fresh % nodes])
    strides = torch.tensor([nodes * nodes, nodes, 1])
    found = []
    for corner in _CORNERS:
        offset = corner.to(fresh.device)[:, None]
        fits = ((at >= offset) & (at < nodes - 1 + offset)).all(dim=0)
        found.append((fresh - int(corner @ strides))[fits])
    cells = _distinct(torch.cat(found), scratch)
    # A cell has its lowest corner's number here, so its corners are that far from it.
    corners = cells[:, None] + (_CORNERS @ strides).to(fresh.device)
    unasked = ~known[corners]
    open_ = unasked.any(dim=1)
    corners, unasked = corners[open_], unasked[open_]
    inside = values[corners] > LEVEL
    straddling = inside.any(dim=1) & ~inside.all(dim=1)
    return _distinct(corners[straddling][unasked[straddling]], scratch)


def of_points(function: Callable[[NDArray[np.float32]], NDArray[np.floating]], resolution: int) -> Field:
    """Return the field of one sample from a function of (N, 3) points in [-1, 1] to (N,) occupancies."""
    nodes = resolution + 1

    def field(keys: Tensor) -> Tensor:
        at = torch.stack([keys // (nodes * nodes), keys // nodes % nodes, keys % nodes], dim=1)
        points = at.to(torch.float32) * (2.0 / resolution) - 1.0
        return torch.from_numpy(np.asarray(function(points.numpy()), np.float32))

    return field


def dense(field: Field, resolution: int) -> Volume:
    """Evaluate one sample's field at every node: the reference for `refine`."""
    axis = torch.arange(resolution)
    finest = resolution + 1
    values = [
        field(((x * finest + axis[:, None]) * finest + axis[None]).reshape(-1)).reshape(resolution, resolution)
        for x in axis
    ]
    return Volume(torch.stack(values).to(torch.float32), resolution**3)


def surface(volume: Volume, backend: str = "skimage") -> tuple[NDArray[np.float64], NDArray[np.int32]] | None:
    """Return the level set of a volume as (V, 3) vertices in [-1, 1) and (F, 3) faces, or None if there is none.

    The volume counts as empty beyond its border, so the surface is always closed. Faces are counter-clockwise seen from
    outside in a right-handed frame.

    Args:
        volume: Occupancies.
        backend: ``skimage`` (Lewiner's marching cubes) or ``warp`` (for CUDA, where the volume then stays).

    Raises:
        torch.OutOfMemoryError: If Warp has no memory left.
    """
    inside = volume.values > LEVEL
    flat = inside.any(dim=0)
    lines = (inside.flatten(1).any(dim=1), flat.any(dim=1), flat.any(dim=0))
    ends = []
    for axis, hits in enumerate(lines):
        hit = hits.nonzero()[:, 0].tolist()
        if not hit:
            return None
        ends.append((max(hit[0] - 1, 0), min(hit[-1] + 2, volume.values.shape[axis])))
    part = volume.values[tuple(slice(a, b) for a, b in ends)]
    padded = F.pad(part, (1, 1, 1, 1, 1, 1))
    # A node exactly on the level belongs to both sides, and the surface through it need not close.
    padded[padded == LEVEL] = float(np.nextafter(np.float32(LEVEL), np.float32(0)))
    vertices, faces = _warp_cubes(padded) if backend == "warp" else _skimage_cubes(padded)
    start = np.array([a for a, _ in ends], np.float64) - 1.0
    return (vertices + start) * (2.0 / volume.values.shape[0]) - 1.0, faces


def _skimage_cubes(values: Tensor) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    from skimage.measure import marching_cubes

    vertices, faces, _, _ = marching_cubes(values.cpu().numpy(), LEVEL)
    # In a right-handed frame it turns the faces of matter inwards.
    return vertices.astype(np.float64), faces[:, ::-1].astype(np.int32)


def _warp_cubes(values: Tensor) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    from robench.geometry import _kernels

    wp = _kernels.wp  # type: ignore[attr-defined]  # by way of the module that keeps Warp's start-up quiet
    field = wp.from_torch(values.contiguous())
    top = tuple(float(n - 1) for n in values.shape)
    if values.device.type == "cuda":
        # Warp has a stream of its own.
        torch.cuda.current_stream(values.device).synchronize()
    try:
        with wp.ScopedDevice(field.device):
            found, indices = wp.MarchingCubes.extract(field, wp.float32(LEVEL), lower=(0.0, 0.0, 0.0), upper=top)
    except RuntimeError as error:
        if "allocate" not in str(error):
            raise
        # Warp's memory is not torch's, but running out of it is the same thing to a caller.
        raise torch.OutOfMemoryError(str(error)) from error
    return found.numpy().astype(np.float64), indices.numpy().reshape(-1, 3)[:, ::-1].astype(np.int32)
