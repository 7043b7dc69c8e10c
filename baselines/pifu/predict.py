"""One picture in, one mesh out: what both PIFu models of the registry share."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.pifu.checkpoint import Weights
from baselines.pifu.inputs import Crop, Prepared, mask_box, network_image, prepare, to_view
from baselines.pifu.network import Encoded
from baselines.pifu.reconstruct import Float, coarse_to_fine, surface
from robench.contracts import Failure, Mesh, Reconstruction, Request

READS = frozenset({"image", "mask", "camera"})
# Points a query: on a CPU about 10,000 stay in the cache (1.6 times faster than 50,000), a GPU wants more.
_CHUNK = {"cpu": 10_000, "cuda": 200_000}


@dataclass
class Predictor:
    """Opened networks on a device.

    Attributes:
        weights: Networks in evaluation mode, on `device`.
        device: Where they are.
        resolution: Grid nodes an axis.
        crop: See `baselines.pifu.inputs.square`.
    """

    weights: Weights
    device: torch.device
    resolution: int
    crop: Crop

    @torch.inference_mode()
    def __call__(self, request: Request) -> Reconstruction | Failure:
        """Reconstruct one request; nothing of another request can enter."""
        if mask_box(request.mask) is None:
            return Failure("no_detection", "the mask has no person")
        start = time.perf_counter()
        ready = prepare(request.image, request.mask, request.camera, self.weights.config.image_size, self.crop)
        image = torch.from_numpy(network_image(ready.image, ready.mask))[None].to(self.device)
        encoded = self._filtered(image)
        filtered = time.perf_counter()
        volume = coarse_to_fine(lambda points: self._occupancy(encoded, points), self.resolution)
        queried = time.perf_counter()
        found = surface(volume, "warp" if self.device.type == "cuda" else "skimage")
        if found is None:
            return Failure("degenerate", "the network found no occupied space")
        vertices, faces = found
        colours = self._colours(encoded, image, vertices.astype(np.float32), ready)
        down = vertices * np.array([1.0, -1.0, 1.0])
        mesh = Mesh(to_view(down, ready.camera).astype(np.float32), faces, colours)
        done = time.perf_counter()
        timings = {"filter_s": filtered - start, "query_s": queried - filtered, "surface_s": done - queried}
        warnings = ("cropped around the person",) if ready.cropped else ()
        return Reconstruction(mesh, READS, timings, warnings)

    def _filtered(self, image: Tensor) -> Encoded:
        with torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda"):
            encoded = self.weights.shape.filter(image)
        return Encoded([m.float() for m in encoded.maps], encoded.stem.float(), encoded.reduced)

    def _calib(self) -> Tensor:
        # The lattice lives in the published mesh space, y up; pictures have y down.
        return torch.diag(torch.tensor([1.0, -1.0, 1.0, 1.0], device=self.device))[None]

    def _chunks(self, points: Float) -> list[Tensor]:
        size = _CHUNK[self.device.type]
        columns = torch.from_numpy(np.ascontiguousarray(points.T)).to(self.device)
        return list(torch.split(columns, size, dim=1))

    def _occupancy(self, encoded: Encoded, points: Float) -> Float:
        calib = self._calib()
        parts = [self.weights.shape.query(encoded, part[None], calib)[-1][0, 0] for part in self._chunks(points)]
        found: Float = torch.cat(parts).cpu().numpy()
        return found

    def _colours(self, encoded: Encoded, image: Tensor, vertices: Float, ready: Prepared) -> NDArray[np.uint8]:
        net = self.weights.colour
        if net is None:
            return sample_image(ready.image, vertices)
        with torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda"):
            colour_map = net.filter(image)
        colour_map, calib = colour_map.float(), self._calib()
        parts = [net.query(encoded.maps[-1], colour_map, p[None], calib)[0] for p in self._chunks(vertices)]
        rgb = torch.cat(parts, dim=1).T.cpu().numpy() * 0.5 + 0.5
        return np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)


def sample_image(image: NDArray[np.uint8], vertices: Float) -> NDArray[np.uint8]:
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
