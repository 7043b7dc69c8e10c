"""The shape network on a lattice, asked ray by ray: the same numbers for less than half the multiplications.

The camera is orthographic, so all nodes of a lattice that share x and y see the same image features; only the depth
differs. A layer of the classifier is linear in ``concat(hidden, features, depth)``: its part of the features is
multiplied once a ray, its part of the depth is one product a node, and of the first layer nothing else is left. The
order of additions differs from `SurfaceClassifier`, so values agree to float32 rounding (about 1e-6), not bit by bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Generic, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.pifu.network import Encoded, ShapeNet, depth_scale, index

E = TypeVar("E")

Precision = Literal["float32", "tf32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bfloat16")
# Nodes a block. On a CPU the hidden layers of a thousand stay in the cache (5 % faster on one core), but several cores
# then wait for each other too often; a GPU needs more to be busy.
CHUNK = {"cpu": 4096, "cuda": 65_536}
# Products of fewer rows may run another kernel, which rounds otherwise, so no block is smaller.
SMALLEST = 256


@contextmanager
def arithmetic(device: torch.device, precision: Precision) -> Iterator[None]:
    """Fix, for a while, what a float32 product means on CUDA; settings of the process come back afterwards.

    torch lets convolutions run in TF32 unless told otherwise, which moves vertices with the kind of GPU.
    """
    if device.type != "cuda":
        yield
        return
    places = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = "tf32" if precision == "tf32" else "ieee"
        yield
    finally:
        for place, setting in zip(places, before, strict=True):
            place.fp32_precision = setting


class Portions:
    """How much is asked at once: less and less whenever CUDA runs out of memory.

    Attributes:
        size: Nodes or points a block; halves for good.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def run(self, some: Callable[[int, int], list[Tensor]], count: int, share: int = 1) -> list[Tensor]:
        """Ask portion by portion; where there is no room for one, halve it and go on where it stopped.

        Args:
            some: Results from a first to a last number, last excluded.
            count: Where to end.
            share: A portion is `size` over this.

        Raises:
            torch.OutOfMemoryError: If `SMALLEST` at once are too many.
        """
        found: list[Tensor] = []
        first = 0
        while first < count:
            last = min(first + max(self.size // share, SMALLEST), count)
            try:
                found += some(first, last)
            except torch.OutOfMemoryError:
                if self.size <= SMALLEST:
                    raise
            else:
                first = last
                continue
            # Only here, where the error no longer holds the tensors of its frames.
            self.size = max(self.size // 2, SMALLEST)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return found


class Rays(ABC, Generic[E]):
    """A classifier taken apart, asked on a lattice: subclasses say what `parts` rays share and how to `query` nodes.

    Args:
        widths: Of its layers.
        biases: (sum of widths,) or any other tensor on its device.
        depth_scale: Depth feature of a node at normalised depth one.
        precision: ``bfloat16`` multiplies the hidden layers in it (sums in float32); the other two differ by
            `arithmetic` alone.
        chunk: Nodes a block; None for the device's own.
    """

    def __init__(
        self, widths: Sequence[int], biases: Tensor, depth_scale: float, precision: Precision, chunk: int | None
    ) -> None:
        self._widths, self._biases, self._depth_scale = list(widths), biases, depth_scale
        self._low = torch.bfloat16 if precision == "bfloat16" else None
        self.portions = Portions(CHUNK[biases.device.type] if chunk is None else chunk)
        self._blocks: list[Tensor] = []

    @abstractmethod
    def parts(self, encoded: E, sample: Tensor, uv: Tensor) -> list[Tensor]:
        """Return each layer's share of the features of rays: tensors (R, width).

        Args:
            encoded: Maps of B images.
            sample: (R,) image of each ray, in rising order.
            uv: (2, R) where it meets the image, in [-1, 1].
        """

    @abstractmethod
    def query(self, parts: list[Tensor], ray_of: Tensor, depth: Tensor) -> Tensor:
        """Return the (N,) occupancies of nodes.

        Args:
            parts: From rays.
            ray_of: (N,) row of each node's ray.
            depth: (N,) depth feature of each node.
        """

    def lattice(self, encoded: E, resolution: int) -> Callable[[Tensor], Tensor]:
        """Return the field of one or several encoded images on the finest lattice, as `reconstruct.refine` asks it.

        The lattice lies in the published mesh space, y up: node i of an axis is at ``-1 + 2 i / resolution``.

        Args:
            encoded: Maps of B images.
            resolution: Cells an axis.

        Returns:
            A function of sorted (N,) node numbers, ``((image * n + x) * n + y) * n + z`` with n = resolution + 1, to
            (N,) occupancies. It raises torch.OutOfMemoryError only if `SMALLEST` nodes are too many.
        """
        nodes = resolution + 1
        step = 2.0 / resolution

        def ask(keys: Tensor) -> Tensor:
            # Keys are sorted, so a ray's nodes lie side by side.
            rays, ray_of, counts = torch.unique_consecutive(keys // nodes, return_inverse=True, return_counts=True)
            depth = ((keys % nodes).to(torch.float32) * step - 1.0) * self._depth_scale
            sample, column = rays // (nodes * nodes), rays % (nodes * nodes)
            # Pictures have y down.
            uv = torch.stack([(column // nodes) * step - 1.0, 1.0 - (column % nodes) * step]).to(torch.float32)
            ends = F.pad(counts.cumsum(0), (1, 0))

            def some(first: int, last: int) -> list[Tensor]:
                if self._blocks and len(self._blocks[0]) > self.portions.size:
                    self._blocks.clear()  # memory ran out since
                parts = self.parts(encoded, sample[first:last], uv[:, first:last])
                cuts = [*range(int(ends[first]), int(ends[last]), self.portions.size), int(ends[last])]
                return [self.query(parts, ray_of[a:b] - first, depth[a:b]) for a, b in pairwise(cuts)]

            return torch.cat([depth[:0], *self.portions.run(some, len(rays), share=4)])

        return ask

    def _room(self, rows: int) -> list[Tensor]:
        # Kept between blocks: fresh memory costs a page fault every four kilobytes.
        if not self._blocks or len(self._blocks[0]) != rows:
            self._blocks.clear()
            self._blocks += [torch.empty(rows, width, device=self._biases.device) for width in self._widths]
        return self._blocks

    def _multiplier(self, weight: Tensor) -> Tensor:
        """Return (inputs, outputs) of an (outputs, inputs) matrix, in the type that hidden layers are multiplied in."""
        turned = weight.t().contiguous()
        return turned if self._low is None else turned.to(self._low)

    def _multiply(self, block: Tensor, hidden: Tensor, weight: Tensor) -> None:
        """Add ``hidden @ weight`` to a block."""
        if weight.dtype == torch.float32:
            block.addmm_(hidden, weight)
        else:
            block.add_(hidden.to(weight.dtype) @ weight)


class RayClassifier(Rays[Encoded]):
    """net_G's classifier taken apart, for one image a sample.

    Args:
        net: The network, in evaluation mode, on its device.
        precision: ``bfloat16`` multiplies the hidden layers in it (sums in float32); the other two differ by
            `arithmetic` alone.
        chunk: Nodes a block; None for the device's own.

    Raises:
        ValueError: If the network averages over several views.
    """

    def __init__(self, net: ShapeNet, precision: Precision = "float32", chunk: int | None = None) -> None:
        config, classifier = net.config, net.surface_classifier
        if config.num_views != 1:
            raise ValueError(f"one image cannot stand for the {config.num_views} views that this network averages")
        convs = [classifier.get_submodule(f"conv{i}") for i in range(classifier.layers)]
        weights = [conv.get_parameter("weight").detach()[..., 0] for conv in convs]
        biases = [conv.get_parameter("bias").detach() for conv in convs]
        widths = [len(bias) for bias in biases]
        super().__init__(widths, torch.cat(biases), depth_scale(config), precision, chunk)
        self._with_stem = config.skip_hourglass
        self._hidden: list[Tensor] = []
        self._depth: list[Tensor | None] = []
        features: list[Tensor] = []
        depth_at = net.map_channels  # the classifier's input: the map's features, depth, perhaps the stem's
        for i, weight in enumerate(weights):
            before = widths[i - 1] if i else 0
            hidden = weight[:, :before]
            # The last layer is a single column: nothing to gain, and its sum is the answer.
            self._hidden.append(hidden.t().contiguous() if i == len(weights) - 1 else self._multiplier(hidden))
            own = weight[:, before:]
            if own.shape[1] == 0:  # no residual: this layer does not see the input again
                self._depth.append(None)
                features.append(torch.zeros_like(features[0][:1]).expand(len(weight), -1))
            else:
                self._depth.append(own[:, depth_at].contiguous())
                features.append(torch.cat([own[:, :depth_at], own[:, depth_at + 1 :]], dim=1))
        self._features = torch.cat(features).t().contiguous()

    def parts(self, encoded: Encoded, sample: Tensor, uv: Tensor) -> list[Tensor]:
        """See `Rays.parts`."""
        features = on_rays(encoded.maps[-1], sample, uv)
        if self._with_stem:
            features = torch.cat([features, on_rays(encoded.stem, sample, uv)], dim=1)
        rows = padded(len(features))
        wide = torch.addmm(self._biases, F.pad(features, (0, 0, 0, rows - len(features))), self._features)
        return [part.contiguous() for part in torch.split(wide, self._widths, dim=1)]

    def query(self, parts: list[Tensor], ray_of: Tensor, depth: Tensor) -> Tensor:
        """See `Rays.query`."""
        count = len(depth)
        rows = padded(count)
        which = F.pad(ray_of, (0, rows - count))
        z = F.pad(depth, (0, rows - count))[:, None]
        hidden: Tensor | None = None
        for i, block in enumerate(self._room(rows)):
            torch.index_select(parts[i], 0, which, out=block)
            along = self._depth[i]
            if along is not None:
                block.addcmul_(z, along[None])
            if hidden is not None:
                self._multiply(block, hidden, self._hidden[i])
            if i < len(self._widths) - 1:
                F.leaky_relu_(block, 0.01)
            hidden = block
        assert hidden is not None
        return torch.sigmoid(hidden[:count, 0])


def on_rays(maps: Tensor, sample: Tensor, uv: Tensor) -> Tensor:
    """Return the (R, C) features of rays.

    Args:
        maps: (B, C, h, w).
        sample: (R,) image of each ray, in rising order.
        uv: (2, R) where it meets the image, in [-1, 1].
    """
    counts = torch.bincount(sample, minlength=len(maps)).tolist() if len(maps) > 1 else [len(sample)]
    found = []
    start = 0
    for b, count in enumerate(counts):
        if count:
            found.append(index(maps[b : b + 1], uv[None, :, start : start + count])[0])
            start += count
    return torch.cat(found, dim=1).t()


def padded(rows: int) -> int:
    """Return the number of rows to multiply: one of few, so that few kernels are ever chosen."""
    size = SMALLEST
    while size < rows:
        size *= 2
    return size
