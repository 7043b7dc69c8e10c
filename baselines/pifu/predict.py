"""A batch of pictures in, a mesh for each out: what both PIFu models of the registry share."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.pifu.checkpoint import Weights
from baselines.pifu.inputs import Crop, Prepared, mask_box, network_image, prepare, to_view
from baselines.pifu.network import Encoded
from baselines.pifu.rays import Portions, Precision, RayClassifier, arithmetic
from baselines.pifu.reconstruct import Field, Volume, refine, silhouette, surface
from robench.contracts import Failure, Mesh, Reconstruction, Request

READS = frozenset({"image", "mask", "camera"})
# Samples that are worked on together. On a CPU there is nothing to gain, and one by one a result cannot depend on the
# others even in its last bit; on a GPU products of another size may round in another order.
_TOGETHER = {"cpu": 1, "cuda": 8}
# Vertices a colour query: on a CPU about 10,000 stay in the cache, a GPU wants more.
_COLOURS = {"cpu": 10_000, "cuda": 65_536}


@dataclass
class Predictor:
    """Opened networks on a device.

    Attributes:
        weights: Networks in evaluation mode, on `device`.
        device: Where they are.
        resolution: Grid nodes an axis.
        crop: See `baselines.pifu.inputs.square`.
        precision: See `baselines.pifu.rays`; ``bfloat16`` also filters images in it.
        together: Samples that are encoded and refined at once; None for the device's own number.
        rays: The shape network's classifier, ray by ray.
    """

    weights: Weights
    device: torch.device
    resolution: int
    crop: Crop
    precision: Precision = "float32"
    together: int | None = None
    rays: RayClassifier = field(init=False)

    def __post_init__(self) -> None:
        self.rays = RayClassifier(self.weights.shape, self.precision)
        self._colour_portions = Portions(_COLOURS[self.device.type])

    @torch.inference_mode()
    def __call__(self, requests: Sequence[Request]) -> list[Reconstruction | Failure]:
        """Reconstruct a batch.

        One by one on a CPU: the others of a batch change no bit. On CUDA several at once: occupancies may differ by
        float32 rounding (1e-5), vertices by 0.01 voxel.
        """
        found: list[Reconstruction | Failure | None] = [None] * len(requests)
        ready: list[tuple[int, _Item]] = []
        for i, request in enumerate(requests):
            if mask_box(request.mask) is None:
                found[i] = Failure("no_detection", "the mask has no person")
            else:
                ready.append((i, self._item(request)))
        size = _TOGETHER[self.device.type] if self.together is None else self.together
        with arithmetic(self.device, self.precision):
            for start in range(0, len(ready), size):
                part = ready[start : start + size]
                for (i, _), result in zip(part, self._guarded([item for _, item in part]), strict=True):
                    found[i] = result
        return [result for result in found if result is not None]

    @torch.no_grad()
    def solid(self, request: Request) -> Solid | Failure:
        """Return the surface of one request where the networks see it, and what they saw; may enter gradients."""
        if mask_box(request.mask) is None:
            return Failure("no_detection", "the mask has no person")
        ready = self._item(request).ready
        with arithmetic(self.device, self.precision):
            image = torch.from_numpy(network_image(ready.image, ready.mask)[None]).to(self.device)
            encoded = self._filtered(image)
            focus = silhouette(torch.from_numpy(ready.mask.copy()), self.resolution)[None].to(self.device)
            (volume,) = refine(self._field(encoded), self.resolution, focus, self.device)
        found = surface(volume, "warp" if self.device.type == "cuda" else "skimage")
        if found is None:
            return Failure("degenerate", "the network found no occupied space")
        return Solid(ready, found[0].astype(np.float32), found[1], encoded, image)

    def _item(self, request: Request) -> _Item:
        start = time.perf_counter()
        ready = prepare(request.image, request.mask, request.camera, self.weights.config.image_size, self.crop)
        return _Item(ready, time.perf_counter() - start)

    def _guarded(self, items: list[_Item]) -> list[Reconstruction | Failure]:
        """Reconstruct together; without the memory for that in halves, and at last as a failure of one sample."""
        try:
            return self._reconstructed(items)
        except (torch.OutOfMemoryError, MemoryError) as error:
            message = str(error).splitlines()[0] if str(error) else "out of memory"
        # Only here, where the error no longer holds the tensors of its frames.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(items) == 1:
            return [Failure("oom", message)]
        half = len(items) // 2
        return self._guarded(items[:half]) + self._guarded(items[half:])

    def _reconstructed(self, items: list[_Item]) -> list[Reconstruction | Failure]:
        start = self._now()
        images = np.stack([network_image(item.ready.image, item.ready.mask) for item in items])
        image = torch.from_numpy(images).to(self.device)
        encoded = self._filtered(image)
        filtered = self._now()
        masks = [torch.from_numpy(item.ready.mask.copy()) for item in items]
        focus = torch.stack([silhouette(mask, self.resolution) for mask in masks]).to(self.device)
        volumes = refine(self._field(encoded), self.resolution, focus, self.device)
        queried = self._now()
        found = []
        for i, item in enumerate(items):
            one = Encoded([m[i : i + 1] for m in encoded.maps], encoded.stem[i : i + 1], encoded.reduced[i : i + 1])
            took = (item.seconds + (filtered - start) / len(items), (queried - filtered) / len(items))
            found.append(self._mesh(item.ready, volumes[i], one, image[i : i + 1], took))
        return found

    def _mesh(
        self, ready: Prepared, volume: Volume, encoded: Encoded, image: Tensor, took: tuple[float, float]
    ) -> Reconstruction | Failure:
        start = self._now()
        found = surface(volume, "warp" if self.device.type == "cuda" else "skimage")
        if found is None:
            return Failure("degenerate", "the network found no occupied space")
        vertices, faces = found
        colours = self._colours(encoded, image, vertices.astype(np.float32), ready)
        down = vertices * np.array([1.0, -1.0, 1.0])
        mesh = Mesh(to_view(down, ready.camera).astype(np.float32), faces, colours)
        timings = {"encode": took[0], "query": took[1], "mesh": self._now() - start}
        return Reconstruction(mesh, READS, timings, ("cropped around the person",) if ready.cropped else ())

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _reduced(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def encode(self, image: Tensor) -> Encoded:
        """Return the feature maps of (B, 3, S, S) images on the device, in whatever number format."""
        return self.weights.shape.filter(image)

    def _filtered(self, image: Tensor) -> Encoded:
        with self._reduced():
            encoded = self.encode(image)
        return Encoded([m.float() for m in encoded.maps], encoded.stem.float(), encoded.reduced)

    def _field(self, encoded: Encoded) -> Field:
        return self.rays.lattice(encoded, self.resolution)

    def _colours(
        self, encoded: Encoded, image: Tensor, vertices: NDArray[np.float32], ready: Prepared
    ) -> NDArray[np.uint8]:
        net = self.weights.colour
        if net is None:
            return sample_image(ready.image, vertices)
        with self._reduced():
            colour_map = net.filter(image)
        colour_map = colour_map.float()
        # The lattice lives in the published mesh space, y up; pictures have y down.
        calib = torch.diag(torch.tensor([1.0, -1.0, 1.0, 1.0], device=self.device))[None]
        points = torch.from_numpy(np.ascontiguousarray(vertices.T)).to(self.device)[None]

        def some(first: int, last: int) -> list[Tensor]:
            return [net.query(encoded.maps[-1], colour_map, points[..., first:last], calib)[0]]

        parts = self._colour_portions.run(some, len(vertices))
        rgb = torch.cat(parts, dim=1).T.cpu().numpy() * 0.5 + 0.5
        return np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Solid:
    """A reconstructed surface, before it has colours.

    Attributes:
        ready: The picture as the networks see it.
        vertices: (V, 3) normalised mesh space: x right, y up, z towards the viewer, the picture's square at [-1, 1].
        faces: (F, 3).
        encoded: The shape network's maps.
        image: (1, 3, S, S) what the networks saw.
    """

    ready: Prepared
    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    encoded: Encoded
    image: Tensor


@dataclass(frozen=True)
class _Item:
    """A request as the network sees it, and the seconds that took."""

    ready: Prepared
    seconds: float


def sample_image(image: NDArray[np.uint8], vertices: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the (V, 3) colours of a (S, S, 3) picture under (V, 3) normalised vertices, y up, bilinear.

    The back gets the front's colours.
    """
    import cv2

    half = image.shape[0] / 2
    u = (vertices[:, 0] + 1) * half - 0.5
    v = (1 - vertices[:, 1]) * half - 0.5
    # OpenCV's maps are limited to 32767 rows and columns, so points are laid out in a square.
    side = int(np.ceil(np.sqrt(len(vertices))))
    grid = np.zeros((2, side * side), np.float32)
    grid[0, : len(u)], grid[1, : len(v)] = u, v
    maps = grid.reshape(2, side, side)
    found = cv2.remap(image, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found.reshape(-1, 3)[: len(u)], np.uint8)
