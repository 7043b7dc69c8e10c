"""A picture in, a mesh out, one by one: the fine level's maps fill the memory of what PIFu needs for eight."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.pifu.inputs import to_view
from baselines.pifu.predict import sample_image
from baselines.pifu.rays import Portions, Precision, arithmetic
from baselines.pifu.reconstruct import Field, first_cells, refine, surface
from baselines.pifuhd.checkpoint import Weights
from baselines.pifuhd.inputs import LARGEST, Prepared, network_image, prepare, square_of
from baselines.pifuhd.network import Encoded, finite_normals
from baselines.pifuhd.rays import TwoLevelRays
from robench.contracts import Box, Failure, Mesh, Reconstruction, Request
from robench.errors import printable

Colours = Literal["picture", "normals"]
# Vertices a query of normals, of four points each.
_AT_ONCE = {"cpu": 2500, "cuda": 16_384}
DELTA = 0.001
"""Published step of the differences that normals are made of."""


@dataclass
class Predictor:
    """An opened network on a device.

    Attributes:
        weights: Network in evaluation mode, on `device`.
        device: Where it is.
        resolution: Grid nodes an axis.
        crop: See `baselines.pifuhd.inputs.square_of`.
        precision: See `baselines.pifu.rays.Rays`; ``bfloat16`` also filters images in it.
        colours: ``picture``: the picture's, the back taking the front's; ``normals``: the field's, as published.
        rays: The classifiers, ray by ray.
    """

    weights: Weights
    device: torch.device
    resolution: int
    crop: Box | str
    precision: Precision = "float32"
    colours: Colours = "picture"
    rays: TwoLevelRays = field(init=False)

    def __post_init__(self) -> None:
        self.rays = TwoLevelRays(self.weights.net, self.precision)
        self._portions = Portions(_AT_ONCE[self.device.type])

    @torch.inference_mode()
    def __call__(self, requests: Sequence[Request]) -> list[Reconstruction | Failure]:
        """Reconstruct a batch; the others in it change no bit."""
        with arithmetic(self.device, self.precision):
            return [self._guarded(request) for request in requests]

    def _guarded(self, request: Request) -> Reconstruction | Failure:
        try:
            return self._reconstructed(request)
        except (torch.OutOfMemoryError, MemoryError) as error:
            message = str(error).splitlines()[0] if str(error) else "out of memory"
        # Only here, where the error no longer holds the tensors of its frames.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return Failure("oom", message)

    def _reconstructed(self, request: Request) -> Reconstruction | Failure:
        start = self._now()
        height, width = request.image.shape[:2]
        square = square_of((height, width), request.mask, self.crop, request.box)
        if square is None:
            return Failure("no_detection", "the mask has no person")
        by_box = isinstance(self.crop, Box) or (self.crop == "box" and request.box is not None)
        if by_box and (square.side > LARGEST or not square.overlaps((height, width))):
            box = f"{square.side} pixels square at ({square.left}, {square.top})"
            what = "lies outside" if square.side <= LARGEST else "is far larger than"
            name = printable(request.sample_id)
            return Failure("no_detection", f"the person box of '{name}', {box}, {what} the {width} x {height} picture")
        config = self.weights.config
        ready = prepare(request.image, request.camera, square, config.coarse_size, config.fine_size)
        encoded = self._filtered(ready)
        filtered = self._now()
        # Everywhere, as published: what is in the picture is reconstructed, whatever the mask says.
        cells = first_cells(self.resolution)
        focus = torch.ones(1, cells, cells, dtype=torch.bool, device=self.device)
        volume = refine(self._field(encoded), self.resolution, focus, self.device)[0]
        queried = self._now()
        found = surface(volume, "warp" if self.device.type == "cuda" else "skimage")
        del volume
        if found is None:
            return Failure("degenerate", "the network found no occupied space")
        vertices, faces = found
        colours = self._colours(encoded, vertices.astype(np.float32), ready)
        points = to_view(vertices * np.array([1.0, -1.0, 1.0]), ready.camera)
        mesh = Mesh(points.astype(np.float32), faces, colours)
        timings = {"encode": filtered - start, "query": queried - filtered, "mesh": self._now() - queried}
        by_mask = not by_box and self.crop != "none"
        read = {"image", "camera"} | ({"mask"} if by_mask else set()) | ({"box"} if self.crop == "box" else set())
        warnings = ("cropped around the person",) if ready.cropped else ()
        if by_mask and self.crop == "box":
            warnings = (*warnings, "no person box: the crop is made from the mask")
        return Reconstruction(mesh, frozenset(read), timings, warnings)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _filtered(self, ready: Prepared) -> Encoded:
        coarse, fine = (
            torch.from_numpy(network_image(image))[None].to(self.device) for image in (ready.coarse, ready.fine)
        )
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            found = self.weights.net.filter(coarse, fine)
        # Only the last maps are asked; the others would wait in memory for nothing.
        return Encoded(found.front, found.back, [found.coarse[-1].float()], [found.fine[-1].float()])

    def _field(self, encoded: Encoded) -> Field:
        return self.rays.lattice(encoded, self.resolution)

    def _colours(self, encoded: Encoded, vertices: NDArray[np.float32], ready: Prepared) -> NDArray[np.uint8]:
        if self.colours == "picture":
            return sample_image(ready.fine, vertices)
        # The lattice lives in mesh space, y up; pictures have y down.
        calib = torch.diag(torch.tensor([1.0, -1.0, 1.0, 1.0], device=self.device))[None]
        points = torch.from_numpy(np.ascontiguousarray(vertices.T)).to(self.device)[None]
        net = self.weights.net

        def some(first: int, last: int) -> list[Tensor]:
            return [finite_normals(lambda p: net.query(encoded, p, calib), points[..., first:last], DELTA)[0]]

        normals = torch.cat(self._portions.run(some, len(vertices)), dim=1).T.cpu().numpy()
        return np.rint(np.clip(normals * 0.5 + 0.5, 0, 1) * 255).astype(np.uint8)
