"""Colours refined at test time: renderings of the reconstruction are pulled towards the picture's embedding.

Four orthographic cameras 90 degrees apart look at the surface. The points that they see are found once and without
gradients, so are the features there; the colour network's classifier is then trained so that the embedding of what the
cameras see comes near that of the masked input. Geometry does not change.

Source: Fantini, Li and Liu, "Potential of 2D Priors for Improving Robustness of Ill-Posed 3D Reconstruction", 2023.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.pifu.colour import ColourNet
from baselines.pifu.inputs import prepare, to_normalised, to_view
from baselines.pifu.network import depth_feature, index, orthogonal
from baselines.pifu.predict import Predictor, Solid
from robench.contracts import Camera, Encoder, Failure, Image, Mesh, Refinement, RefineSettings, Request
from robench.rendering.quality import psnr, ssim
from robench.rendering.raycast import RayScene
from robench.rendering.turntable import turn_pictures, turned

ANGLES = (0.0, 90.0, 180.0, 270.0)
"""Where the cameras stand, in their order: at (0, 0, 2), (2, 0, 0), (0, 0, -2) and (-2, 0, 0)."""
_DISTANCE, _FARTHEST = 2.0, 3.0
# Of the published sphere tracing.
_STEPS, _STEP, _NEAR, _NEAR_TWICE = 64, 0.05, 3e-4, 9e-4

Occupancy = Callable[[Tensor], Tensor]
"""Maps (3, N) points of mesh space to (N,) occupancies."""


def camera(size: int) -> Camera:
    """Return the first camera: mesh space from the front, [-1, 1] over `size` pixels."""
    middle = (size - 1) / 2
    return Camera(np.eye(4), size / 2, (middle, middle), size, size)


def mesh_points(vertices: NDArray[np.float32], faces: NDArray[np.int32], size: int) -> list[tuple[Tensor, Tensor]]:
    """Return, for each camera, what its rays meet first on a mesh.

    Args:
        vertices: (V, 3) mesh space.
        faces: (F, 3), counter-clockwise from outside.
        size: Side of the picture.

    Returns:
        For each camera (N,) numbers of pixels that see the mesh, row by row, and their (3, N) points.
    """
    scene = RayScene(Mesh(vertices, faces))
    found = []
    for angle in ANGLES:
        hits = scene.cast(turned(camera(size), angle))
        seen = np.flatnonzero(hits.mask)
        corners = vertices[faces[hits.face.reshape(-1)[seen]]]
        points = np.einsum("nkc,nk->cn", corners, hits.bary.reshape(-1, 3)[seen])
        found.append((torch.from_numpy(seen), torch.from_numpy(np.ascontiguousarray(points, np.float32))))
    return found


@torch.no_grad()
def traced_points(occupancy: Occupancy, size: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Return what `mesh_points` does, by the published sphere tracing on the field d = -2 (occupancy - 0.5).

    A ray goes 0.05 d a step, at most 64 steps, and rests where |d| < 3e-4, or where d and the one before cancel out to
    within 9e-4 of their mean. It has met something if it came less than 3 far and ended in [-1, 1]: so has one that
    crept through nearly empty space.
    """
    found = []
    at = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) * (2 / size) - 1
    v, u = torch.meshgrid(-at, at, indexing="ij")
    plane = torch.stack([u, v, torch.full_like(u, _DISTANCE)]).reshape(3, -1)
    for angle in ANGLES:
        to_mesh = torch.from_numpy(turned(camera(size), angle).view_from_world[:3, :3].T).to(plane)
        start, ahead = to_mesh @ plane, to_mesh @ plane.new_tensor([[0.0], [0.0], [-1.0]])
        travelled = plane.new_zeros(size * size)
        before = torch.full_like(travelled, torch.inf)
        moving = torch.arange(size * size, device=device)
        for _ in range(_STEPS):
            d = -2 * (occupancy(start[:, moving] + travelled[moving] * ahead) - 0.5)
            rests = (d.abs() < _NEAR) | (((d + before[moving]) / 2).abs() < _NEAR_TWICE)
            before[moving] = d
            moving = moving[~rests]
            travelled[moving] += _STEP * d[~rests]
            if not len(moving):
                break
        points = start + travelled * ahead
        met = torch.nonzero((travelled < _FARTHEST) & (points.abs() <= 1).all(dim=0))[:, 0]
        found.append((met.cpu(), points[:, met].cpu()))
    return found


def cosine_loss(vectors: Tensor, target: Tensor, *, average: bool, unit: bool) -> Tensor:
    """Return 1 - cos between embeddings of renderings and that of the input.

    Args:
        vectors: (N, D).
        target: (D,).
        average: The cosine of their mean, else the mean of their cosines.
        unit: Bring vectors to unit length before they are averaged.
    """
    if average:
        vectors = (F.normalize(vectors, dim=1) if unit else vectors).mean(dim=0, keepdim=True)
    return 1 - F.cosine_similarity(vectors, target[None], dim=1).mean()


@dataclass
class Views:
    """What four cameras see of a solid: pixels, and the features of their points, which are constants.

    Attributes:
        pixels: (N,) numbers of pixels, one tensor a camera.
        features: (1, C, N) inputs of the colour classifier.
        size: Side of the pictures.
    """

    pixels: list[Tensor]
    features: list[Tensor]
    size: int

    def render(self, classifier: nn.Module, views: list[int]) -> Tensor:
        """Return (V, 3, S, S) pictures in [0, 1] before black; gradients flow into the classifier."""
        features = torch.cat([self.features[v] for v in views], dim=2)
        # No convolution takes nothing at all, which a camera may see of a thin surface.
        found = classifier(features)[0] * 0.5 + 0.5 if features.shape[2] else features.new_zeros(3, 0)
        parts = torch.split(found, [len(self.pixels[v]) for v in views], dim=1)
        canvas = found.new_zeros(3, self.size**2)
        pictures = [canvas.index_copy(1, self.pixels[v], part) for v, part in zip(views, parts, strict=True)]
        return torch.stack(pictures).reshape(-1, 3, self.size, self.size)


class Sight:
    """An encoder as the loss looks through it.

    Args:
        encoder: Open.
        settings: Of the refinement.
    """

    def __init__(self, encoder: Encoder, settings: RefineSettings) -> None:
        self._encoder, self._side = encoder, int(encoder.card.extra["input_size"])
        self._coded = settings.protocol == "as-coded"

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return the (N, D) embeddings of (N, 3, S, S) pictures in [0, 1]."""
        if self._coded:
            # The library's resize of tensors did not smooth at the time.
            side = (self._side, self._side)
            pictures = F.interpolate(pictures, size=side, mode="bilinear", align_corners=False)
        return self._encoder.features(pictures).float()


def refine_colours(
    predictor: Predictor,
    request: Request,
    encoder: Encoder,
    settings: RefineSettings,
    truth: Mesh | None = None,
    start: Mapping[str, NDArray[np.float32]] | None = None,
    tick: Callable[[], None] | None = None,
) -> Refinement | Failure:
    """Refine the colours of one sample; the predictor's own weights stay as they are.

    Args:
        predictor: Opened networks, with a colour network.
        request: Picture, mask and camera.
        encoder: Open, on the predictor's device.
        settings: See `RefineSettings`.
        truth: The true mesh in the request camera's view frame, which is only measured against.
        start: Weights of the classifier to begin with, instead of the network's own.
        tick: Called after every iteration.

    Returns:
        What came of it, or why the sample has no surface.

    Raises:
        ValueError: If there is no colour network.
    """
    net = predictor.weights.colour
    if net is None:
        raise ValueError("there is no colour network")
    solid = predictor.solid(request)
    if isinstance(solid, Failure):
        return solid
    views = _views(predictor, net, solid, settings)
    if not any(len(pixels) for pixels in views.pixels):
        return Failure("degenerate", "no camera sees a surface")
    classifier = _classifier(net, predictor.device, start)
    given = _masked_input(request, predictor, settings.size)
    sight = Sight(encoder, settings)
    with torch.no_grad():
        target = sight(_tensor(given[None], predictor.device))[0]
    gauge = Gauge(sight, target, _true_pictures(solid, truth, settings.size), settings, predictor.device)
    everywhere = list(range(len(ANGLES)))
    first = _shown(views, classifier, everywhere)
    before = gauge(first, everywhere)
    log = _optimise(views, classifier, gauge, settings, tick or (lambda: None))
    last = _shown(views, classifier, everywhere)
    pictures = {"input": given[None], "before": _bytes(first), "after": _bytes(last)}
    if gauge.truth is not None:
        pictures["truth"] = gauge.truth
    state = {name: value.detach().cpu().numpy().copy() for name, value in classifier.state_dict().items()}
    mesh = _coloured(predictor, net, classifier, solid)
    return Refinement(log, before, gauge(last, everywhere), pictures, mesh, state)


def _optimise(
    views: Views, classifier: nn.Module, gauge: Gauge, settings: RefineSettings, tick: Callable[[], None]
) -> list[Mapping[str, float | int]]:
    optimiser = torch.optim.Adam(classifier.parameters(), lr=settings.rate)
    average = settings.embeddings == "average"
    log: list[Mapping[str, float | int]] = []
    for i in range(settings.iterations):
        chosen = list(range(len(ANGLES))) if average else [i % len(ANGLES)]
        rendered = views.render(classifier, chosen)
        vectors = gauge.sight(rendered)
        loss = cosine_loss(vectors, gauge.target, average=average, unit=settings.protocol == "described")
        row: dict[str, float | int] = {"iteration": i, "view": -1 if average else chosen[0]}
        log.append(row | gauge(rendered.detach(), chosen, vectors.detach()) | {"loss": float(loss.detach())})
        if loss.requires_grad:  # not where this camera sees nothing
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        tick()
    return log


class Gauge:
    """Measures renderings against the input's embedding and the true views.

    Args:
        sight: The encoder.
        target: (D,) embedding of the masked input.
        truth: (4, S, S, 3) uint8 pictures of the true mesh, or None.
        settings: Of the refinement.
        device: Of the pictures.
    """

    def __init__(
        self, sight: Sight, target: Tensor, truth: Image | None, settings: RefineSettings, device: torch.device
    ) -> None:
        self.sight, self.target, self.truth = sight, target, truth
        self._coded = settings.protocol == "as-coded"
        self._true: Tensor | None = None
        if truth is not None:
            with torch.no_grad():
                self._true = sight(_tensor(truth, device))

    def __call__(self, rendered: Tensor, views: list[int], vectors: Tensor | None = None) -> dict[str, float]:
        """Return the mean over views of each measure; ``loss`` is the mean of 1 - cos to the input.

        Args:
            rendered: (V, 3, S, S) in [0, 1].
            views: Which cameras took them.
            vectors: Their embeddings, where they are known.
        """
        with torch.no_grad():
            vectors = self.sight(rendered) if vectors is None else vectors
        loss = float((1 - F.cosine_similarity(vectors, self.target[None], dim=1)).mean())
        found = {"loss": loss}
        if self.truth is None or self._true is None:
            return found
        own, true = _bytes(rendered), self.truth[views]
        pairs = list(zip(own, true, strict=True))
        vectors_true = self._true[views]
        found["psnr"] = float(np.mean([psnr(a, b) for a, b in pairs]))
        found["ssim"] = float(np.mean([ssim(a, b) for a, b in pairs]))
        found["truth_distance"] = float((1 - F.cosine_similarity(vectors, vectors_true, dim=1)).mean())
        # As published: how far the true view is from the input, less how far the rendering is.
        known = float((1 - F.cosine_similarity(vectors_true, self.target[None], dim=1)).mean())
        found["comparison"] = known - loss
        if self._coded:
            # The published log compared a BGR picture with an RGB one, and gave SSIM its axes in another order.
            found["psnr_as_coded"] = float(np.mean([psnr(a, b[..., ::-1]) for a, b in pairs]))
            found["ssim_as_coded"] = float(np.mean([ssim(a, b[..., ::-1], along=(1,)) for a, b in pairs]))
        return found


def _views(predictor: Predictor, net: ColourNet, solid: Solid, settings: RefineSettings) -> Views:
    device = predictor.device
    if settings.protocol == "as-coded":
        seen = traced_points(_occupancy(predictor, solid), settings.size, device)
    else:
        seen = mesh_points(solid.vertices, solid.faces, settings.size)
    with torch.no_grad():
        colour_map = net.filter(solid.image)
        features = [_features(net, solid, colour_map, points.to(device)) for _, points in seen]
    return Views([pixels.to(device) for pixels, _ in seen], features, settings.size)


def _occupancy(predictor: Predictor, solid: Solid) -> Occupancy:
    calib = _calib(predictor.device)
    portion = 10_000 if predictor.device.type == "cpu" else 200_000

    def ask(points: Tensor) -> Tensor:
        parts = torch.split(points, portion, dim=1)
        found = [predictor.weights.shape.query(solid.encoded, part[None], calib)[-1][0, 0] for part in parts]
        return torch.cat(found)

    return ask


def _calib(device: torch.device) -> Tensor:
    """Mesh space has y up, pictures have y down."""
    return torch.diag(torch.tensor([1.0, -1.0, 1.0, 1.0], device=device))[None]


def _features(net: ColourNet, solid: Solid, colour_map: Tensor, points: Tensor) -> Tensor:
    """Return the (1, C, N) input of the colour classifier at (3, N) points of mesh space."""
    xyz = orthogonal(points[None], _calib(points.device))
    uv = xyz[:, :2]
    maps = [index(solid.encoded.maps[-1], uv), index(colour_map, uv)]
    return torch.cat([*maps, depth_feature(xyz[:, 2:], net.config)], dim=1)


def _classifier(net: ColourNet, device: torch.device, start: Mapping[str, NDArray[np.float32]] | None) -> nn.Module:
    classifier = copy.deepcopy(net.surface_classifier).float().requires_grad_(True)
    if start is not None:
        classifier.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in start.items()})
    return classifier.to(device)


def _masked_input(request: Request, predictor: Predictor, size: int) -> Image:
    """Return the (S, S, 3) picture as the cameras' frame has it, before black."""
    ready = prepare(request.image, request.mask, request.camera, size, predictor.crop)
    return np.asarray(np.rint(ready.image * (ready.mask[..., None] / 255.0)), np.uint8)


def _true_pictures(solid: Solid, truth: Mesh | None, size: int) -> Image | None:
    """Return (4, S, S, 3) pictures of the true mesh, or None where there is none or it has no colours."""
    if truth is None or truth.colours is None or truth.is_empty:
        return None
    up = to_normalised(truth.vertices, solid.ready.camera) * (1.0, -1.0, 1.0)
    mesh = Mesh(up.astype(np.float32), truth.faces, truth.colours)
    # One ray a pixel, as the renderings have it, so that outlines are alike.
    return np.stack(turn_pictures(mesh, camera(size), ANGLES, samples=1))


def _coloured(predictor: Predictor, net: ColourNet, classifier: nn.Module, solid: Solid) -> Mesh:
    points = torch.from_numpy(np.ascontiguousarray(solid.vertices.T)).to(predictor.device)
    with torch.no_grad():
        colour_map = net.filter(solid.image)
        parts = [classifier(_features(net, solid, colour_map, part))[0] for part in torch.split(points, 10_000, dim=1)]
    rgb = torch.cat(parts, dim=1).T.cpu().numpy() * 0.5 + 0.5
    view = to_view(solid.vertices * np.array([1.0, -1.0, 1.0]), solid.ready.camera)
    return Mesh(view.astype(np.float32), solid.faces, np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8))


def _shown(views: Views, classifier: nn.Module, which: list[int]) -> Tensor:
    with torch.no_grad():
        return views.render(classifier, which)


def _tensor(pictures: NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pictures)).to(device).permute(0, 3, 1, 2) / 255.0


def _bytes(pictures: Tensor) -> Image:
    """Return (N, S, S, 3) uint8 of (N, 3, S, S) in [0, 1]."""
    whole = pictures.detach().clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy() * 255
    return np.asarray(np.rint(whole), np.uint8)
