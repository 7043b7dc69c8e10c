"""Colours refined at test time: renderings of the reconstruction are pulled towards the picture's embedding.

Four orthographic cameras 90 degrees apart look at the surface. The points that they see are found once and without
gradients, so are the features there; a copy of the colour network's classifier is then trained for each sample, so that
the embedding of what the cameras see comes near that of the masked input. Geometry does not change. The encoder looks
at the renderings of all samples at once.

Source: Fantini, Li and Liu, "Potential of 2D Priors for Improving Robustness of Ill-Posed 3D Reconstruction", 2023.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.pifu.colour import ColourNet
from baselines.pifu.gauge import Gauge, Sight, as_bytes, as_tensor, cosine_loss
from baselines.pifu.inputs import prepare, to_normalised, to_view
from baselines.pifu.network import depth_feature, index, orthogonal
from baselines.pifu.predict import Predictor, Solid
from baselines.pifu.turn_points import ANGLES, Occupancy, camera, mesh_points, traced_points
from robench.contracts import Encoder, Failure, Image, Mesh, Refinement, RefineRequest, RefineSettings, Request
from robench.io.processes import cores
from robench.rendering.turntable import turn_pictures

_ALL = list(range(len(ANGLES)))


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


@dataclass
class _Sample:
    """One sample while its colours change."""

    solid: Solid
    views: Views
    classifier: nn.Module
    gauge: Gauge
    pictures: dict[str, Image]
    before: Mapping[str, float]
    log: list[Mapping[str, float | int]] = field(default_factory=list)


def refine_colours(
    predictor: Predictor,
    requests: Sequence[RefineRequest],
    encoder: Encoder,
    settings: RefineSettings,
    tick: Callable[[], None] | None = None,
) -> list[Refinement | Failure]:
    """Refine the colours of samples together; the predictor's own weights stay as they are.

    Args:
        predictor: Opened networks, with a colour network.
        requests: The samples. The others of a batch change a result by the rounding of sums at most.
        encoder: Open, on the predictor's device.
        settings: See `RefineSettings`.
        tick: Called after every iteration of every sample.

    Returns:
        For each sample what came of it, or why it has no surface.

    Raises:
        ValueError: If there is no colour network.
    """
    net = predictor.weights.colour
    if net is None:
        raise ValueError("there is no colour network")
    sight = Sight(encoder, settings)
    begun = [_begun(predictor, net, request, sight, settings) for request in requests]
    _optimise([sample for sample in begun if isinstance(sample, _Sample)], sight, settings, tick or (lambda: None))
    return [sample if isinstance(sample, Failure) else _ended(predictor, net, sample) for sample in begun]


def _begun(
    predictor: Predictor, net: ColourNet, asked: RefineRequest, sight: Sight, settings: RefineSettings
) -> _Sample | Failure:
    solid = predictor.solid(asked.request)
    if isinstance(solid, Failure):
        return solid
    views = _views(predictor, net, solid, settings)
    if not any(len(pixels) for pixels in views.pixels):
        return Failure("degenerate", "no camera sees a surface")
    classifier = _classifier(net, predictor.device, asked.start)
    given = _masked_input(asked.request, predictor, settings.size)[None]
    with torch.no_grad():
        target = sight(as_tensor(given, predictor.device))[0]
    truth = _true_pictures(solid, asked.truth, settings.size)
    gauge = Gauge(sight, target, truth, settings, predictor.device)
    first = _shown(views, classifier)
    pictures = {"input": given, "before": as_bytes(first)}
    return _Sample(solid, views, classifier, gauge, pictures, gauge(first, _ALL))


def _ended(predictor: Predictor, net: ColourNet, sample: _Sample) -> Refinement:
    last = _shown(sample.views, sample.classifier)
    pictures = sample.pictures | {"after": as_bytes(last)}
    if sample.gauge.truth is not None:
        pictures["truth"] = sample.gauge.truth
    state = {name: value.detach().cpu().numpy().copy() for name, value in sample.classifier.state_dict().items()}
    mesh = _coloured(predictor, net, sample.classifier, sample.solid)
    return Refinement(sample.log, sample.before, sample.gauge(last, _ALL), pictures, mesh, state)


def _optimise(samples: list[_Sample], sight: Sight, settings: RefineSettings, tick: Callable[[], None]) -> None:
    if not samples:
        return
    # Adam treats each number alone, so one for all is as good as one for each.
    optimiser = torch.optim.Adam([p for s in samples for p in s.classifier.parameters()], lr=settings.rate)
    average, unit = settings.embeddings == "average", settings.protocol == "described"
    # What is measured needs no accelerator: other threads do it during the backward pass.
    with ThreadPoolExecutor(min(len(samples), cores())) as pool:
        for i in range(settings.iterations):
            chosen = _ALL if average else [i % len(ANGLES)]
            rendered = [s.views.render(s.classifier, chosen) for s in samples]
            vectors = torch.split(sight(torch.cat(rendered)), len(chosen))
            losses = [
                cosine_loss(v, s.gauge.target, average=average, unit=unit)
                for s, v in zip(samples, vectors, strict=True)
            ]
            measured = [
                pool.submit(s.gauge, r.detach(), chosen, v.detach())
                for s, r, v in zip(samples, rendered, vectors, strict=True)
            ]
            loss = torch.stack(losses).sum()
            if loss.requires_grad:  # not where no camera of this turn sees anything
                optimiser.zero_grad()
                # A sum: each classifier gets the gradients of its own sample. Who sees nothing has none, and stays.
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            for sample, own, found in zip(samples, losses, measured, strict=True):
                row: dict[str, float | int] = {"iteration": i, "view": -1 if average else chosen[0]}
                sample.log.append(row | found.result() | {"loss": float(own.detach())})
                tick()


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


def _shown(views: Views, classifier: nn.Module) -> Tensor:
    with torch.no_grad():
        return views.render(classifier, _ALL)
