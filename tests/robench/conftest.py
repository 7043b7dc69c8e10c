"""A toy world: ellipsoid people in a plain folder, and plug-ins registered for one test only."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from robench import registry
from robench.contracts import Camera, Card, Degenerate, Failure, Mesh, OpenReport, Reconstruction, Request
from robench.io.depth import write_depth
from robench.io.files import write_json_atomic
from robench.io.images import write_mask, write_png
from robench.io.meshes import write_mesh
from tests.robench.browser import chromium

__all__ = ["chromium"]  # here and nowhere else: two places would be two browsers in a process, which it refuses
SIDE = 48
SCALE = 0.25


def ellipsoid(radii: tuple[float, float, float], rings: int = 8) -> Mesh:
    """A closed ellipsoid at the origin."""
    theta, phi = np.linspace(0, np.pi, rings + 1)[1:-1], np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False)
    t, p = (a.ravel() for a in np.meshgrid(theta, phi, indexing="ij"))
    points = np.stack([np.sin(t) * np.cos(p), np.cos(t), np.sin(t) * np.sin(p)], 1)
    points = np.concatenate([points, [[0, 1, 0], [0, -1, 0]]]) * radii
    n, top, bottom, faces = 2 * rings, len(points) - 2, len(points) - 1, []
    for i in range(n):
        j = (i + 1) % n
        faces += [[top, j, i], [bottom, (rings - 2) * n + i, (rings - 2) * n + j]]
        for r in range(rings - 2):
            a, b, c, d = r * n + i, r * n + j, (r + 1) * n + i, (r + 1) * n + j
            faces += [[a, b, c], [b, d, c]]
    return Mesh(points.astype(np.float32), np.array(faces, np.int32))


def camera_at(yaw: float) -> Camera:
    c, s = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    view = np.eye(4)
    view[0, 0], view[0, 2], view[2, 0], view[2, 2] = c, s, -s, c
    return Camera(view, SCALE, ((SIDE - 1) / 2, (SIDE - 1) / 2), SIDE, SIDE)


def write_people(root: Path, subjects: int = 3, views: tuple[float, ...] = (0.0,), **without: bool) -> Path:
    """Write a plain folder of ellipsoid people; ``depth=False`` and the like leave a companion out."""
    v, u = np.mgrid[:SIDE, :SIDE]
    cameras = {}
    for subject in range(subjects):
        radii = (20.0 + 3 * subject, 61.0 + 8 * subject, 16.0)
        for yaw in views:
            name, camera = f"s{subject}_{yaw:g}", camera_at(yaw)
            c, s = camera.view_from_world[0, 0], camera.view_from_world[0, 2]
            width = float(np.hypot(c * radii[0], s * radii[2]))
            x, y = (u - camera.centre[0]) / SCALE, (camera.centre[1] - v) / SCALE
            inside = (x / width) ** 2 + (y / radii[1]) ** 2 <= 1
            image = np.stack([40 + 2 * u, 60 + 3 * v, 90 + u + v], -1)
            image[inside] = [200 - 20 * subject, 120, 80]
            write_png(root / "images" / f"{name}.png", image.astype(np.uint8))
            if without.get("mask", True):
                write_mask(root / "masks" / f"{name}.png", inside.astype(np.float32))
            if without.get("depth", True):
                write_depth(root / "depth" / f"{name}.npz", np.where(inside, 3.0, np.inf))
            if without.get("mesh", True):
                write_mesh(root / "meshes" / f"{name}.ply", ellipsoid(radii))
            cameras[name] = camera.to_json() | {"subject": f"s{subject}", "view": yaw}
    write_json_atomic(root / "cameras.json", cameras)
    return root


@pytest.fixture(scope="session")
def people_writer() -> Callable[..., Path]:
    """`write_people`, for fixtures that outlive a test."""
    return write_people


@pytest.fixture
def make_people(tmp_path: Path) -> Callable[..., Path]:
    """A function ``(subjects, views, name="people", depth=True, ...)`` that makes a data set and returns its folder."""

    def make(*args: Any, name: str = "people", **kwargs: Any) -> Path:
        return write_people(tmp_path / name, *args, **kwargs)

    return make


@pytest.fixture
def people(make_people: Callable[..., Path]) -> Path:
    """Three subjects, one view."""
    return make_people()


class ToyModel:
    """Puts an ellipsoid into the mask's box; `behave` may raise or answer with a failure first."""

    def __init__(self, behave: Callable[[Request], Failure | None] | None = None, sha256: str = "c0ffee" * 10) -> None:
        self.behave, self.sha256, self.seen = behave, sha256, list[str]()
        self.card = Card("toy", "1", "an ellipsoid in the mask's box", extra={"inputs_used": ["mask"]})

    def open(self, device: str, weights: Path | None = None) -> OpenReport:
        return OpenReport("cpu", 3, self.sha256)

    def reconstruct(self, requests):
        return [self._one(request) for request in requests]

    def _one(self, request: Request) -> Reconstruction | Failure:
        if self.behave is not None and (failure := self.behave(request)) is not None:
            return failure
        rows, columns = np.nonzero(request.mask > 0.5)
        if len(rows) == 0:
            return Failure("no_detection", "the mask is blank")
        self.seen.append(request.sample_id)
        tall, wide = np.ptp(rows) + 1.0, np.ptp(columns) + 1.0
        # The picture's mean goes in, so that every corruption gives another mesh.
        deep = 10 + request.image.mean() / 10
        return Reconstruction(
            ellipsoid((wide / SCALE / 2, tall / SCALE / 2, deep), 4), frozenset({"image", "mask", "camera"})
        )

    def close(self) -> None:
        pass


class HeightError:
    """A metric without needs."""

    card = Card(
        "height_error_cm",
        "1",
        "difference of heights",
        extra={"unit": "cm", "direction": "lower", "formula": "|h - h'|"},
    )

    def __call__(self, scene):
        if scene.prediction is None or scene.truth is None:
            return Degenerate("no mesh")
        tall, true = (float(np.ptp(mesh.vertices[:, 1])) for mesh in (scene.prediction, scene.truth))
        return abs(tall - true)


class Darker:
    """A corruption without needs that draws a parameter."""

    moves_pixels = False

    def __init__(self, name: str = "darker", needs: frozenset[str] = frozenset()) -> None:
        levels = {s: {"share": s / 6} for s in range(1, 6)}
        self.card = Card(name, "1", "takes light away", needs=needs, extra={"severities": levels})

    def sample(self, severity, shape, rng):
        return {"share": severity / 6, "offset": float(rng.uniform(0, 20))}

    def apply(self, image, params, aux):
        dark = np.clip(image * (1 - params["share"]) + params["offset"], 0, 255)
        return SimpleNamespace(image=dark.round().astype(np.uint8), affine=None, notes={"mean": float(dark.mean())})


class SideStep:
    """A corruption that moves pixels by whole ones."""

    moves_pixels = True
    card = Card("side_step", "1", "shifts the picture", extra={"severities": {s: {"px": s} for s in range(1, 6)}})

    def sample(self, severity, shape, rng):
        return {"px": severity}

    def apply(self, image, params, aux):
        moved = np.zeros_like(image)
        moved[:, params["px"] :] = image[:, : -params["px"]]
        affine = np.array([[1, 0, params["px"]], [0, 1, 0]], np.float64)
        return SimpleNamespace(image=moved, affine=affine, notes={})


class Plugins:
    """Registers plug-ins in this process, for one test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._extra: dict[str, dict[str, Callable[[], Any]]] = {}
        self._only: dict[str, set[str]] = {}
        real = registry.entries

        def entries(kind: Any) -> Mapping[str, registry.Entry]:
            found = {n: e for n, e in real(kind).items() if kind not in self._only or n in self._only[kind]}
            for name, factory in self._extra.get(kind, {}).items():
                point = SimpleNamespace(load=lambda factory=factory: factory)
                found[name] = registry.Entry(name, kind, "tests (here)", point)
            return dict(sorted(found.items()))

        monkeypatch.setattr(registry, "entries", entries)

    def add(self, kind: str, name: str, factory: Callable[[], Any]) -> None:
        self._extra.setdefault(kind, {})[name] = factory

    def add_model(self, behave: Callable[[Request], Failure | None] | None = None, **kwargs: Any) -> ToyModel:
        """Register a toy as ``toy`` and return it, so that a test can look at what it saw."""
        model = ToyModel(behave, **kwargs)
        self.add("models", "toy", lambda: model)
        return model

    def keep_only(self, kind: str, *names: str) -> None:
        """Hide the installed plug-ins of a kind but these."""
        self._only[kind] = set(names)


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """The installed plug-ins and: model ``toy``, metric ``height_error_cm``, corruptions ``darker``, ``side_step``."""
    found = Plugins(monkeypatch)
    found.add("models", "toy", ToyModel)
    found.add("corruptions", "darker", Darker)
    found.add("corruptions", "side_step", SideStep)
    found.add("corruptions", "foggy", lambda: Darker("foggy", frozenset({"depth"})))
    found.add("metrics", "height_error_cm", HeightError)
    found.keep_only("metrics", "mask_iou")
    return found


@pytest.fixture
def read_manifest() -> Callable[[Path], dict[str, Any]]:
    return lambda folder: json.loads((folder / "manifest.json").read_text())
