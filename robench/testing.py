"""The conformance suite: what every plug-in must satisfy, ours and a stranger's alike.

One function a kind. Each raises AssertionError with what was broken; a plug-in's own test is one line::

    def test_conformance():
        robench.testing.check_corruption(MyCorruption())
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from robench.contracts import (
    Camera,
    CardLike,
    Corruption,
    Dataset,
    Degenerate,
    Depth,
    Encoder,
    Failure,
    Image,
    Mask,
    Masker,
    Mesh,
    Metric,
    OpenReport,
    Reconstruction,
    Reconstructor,
    Request,
    Scene,
)
from robench.errors import UsageError
from robench.rng import generator

SEVERITIES = (1, 2, 3, 4, 5)
INPUTS = frozenset({"image", "mask", "camera", "box"})
"""What a `Request` holds, so what a reconstructor may say that it read."""
DEVICE = re.compile(r"cpu|cuda(:\d+)?")


# --- Material that the checks use; pictures and meshes are made here, none is read. ---


def example_image(shape: tuple[int, int] = (96, 80)) -> Image:
    """Return a (H, W, 3) uint8 picture with a light ellipse, edges, gradients and some texture."""
    lines, columns = np.mgrid[: shape[0], : shape[1]]
    y, x = lines / shape[0], columns / shape[1]
    image = np.stack([200 * x, 160 * y + 40, 120 + 60 * np.sin(12 * x + 7 * y)], axis=2)
    image[example_mask(shape) > 0.5] += 55
    image += generator(0, "robench.testing").normal(0, 6, image.shape)
    clipped: Image = np.clip(image, 0, 255).astype(np.uint8)
    return clipped


def example_mask(shape: tuple[int, int] = (96, 80)) -> Mask:
    """Return a (H, W) float32 mask: an upright ellipse, 0 or 1."""
    lines, columns = np.mgrid[: shape[0], : shape[1]]
    y, x = (lines + 0.5) / shape[0] - 0.5, (columns + 0.5) / shape[1] - 0.5
    mask: Mask = ((x / 0.22) ** 2 + (y / 0.42) ** 2 < 1).astype(np.float32)
    return mask


def example_depth(shape: tuple[int, int] = (96, 80)) -> Depth:
    """Return a (H, W) float32 depth in metres: the ellipse stands at 3 m before a floor that runs from 2 m to 12 m."""
    floor = np.linspace(12, 2, shape[0], dtype=np.float32)[:, None] * np.ones((1, shape[1]), np.float32)
    depth: Depth = np.where(example_mask(shape) > 0.5, np.float32(3), floor)
    return depth


def example_camera(shape: tuple[int, int] = (96, 80), height_cm: float = 200.0) -> Camera:
    """Return an orthographic camera that sees `height_cm` centimetres over the picture's height."""
    centre = ((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    return Camera(np.eye(4), shape[0] / height_cm, centre, shape[1], shape[0])


def example_mesh(radii: Sequence[float] = (34.0, 84.0, 30.0), steps: int = 24) -> Mesh:
    """Return a watertight ellipsoid at the origin, radii in centimetres, outward faces."""
    polar = np.linspace(0, np.pi, steps)[1:-1]
    round_ = np.linspace(0, 2 * np.pi, 2 * steps, endpoint=False)
    ring = np.stack([np.cos(round_), np.zeros(2 * steps), -np.sin(round_)], axis=1)
    rings = [np.sin(p) * ring + [0, np.cos(p), 0] for p in polar]
    points = np.concatenate([[[0, 1, 0]], *rings, [[0, -1, 0]]]) * np.asarray(radii)
    count, last = 2 * steps, len(points) - 1
    faces = []
    for i in range(count):
        j = (i + 1) % count
        faces += [[0, 1 + i, 1 + j], [last, last - count + j, last - count + i]]
        for k in range(len(polar) - 1):
            a, b = 1 + k * count, 1 + (k + 1) * count
            faces += [[a + i, b + i, b + j], [a + i, b + j, a + j]]
    return Mesh(points.astype(np.float32), np.asarray(faces, np.int32))


def example_scene(shift: Sequence[float] = (0.0, 0.0, 0.0)) -> Scene:
    """Return a scene whose prediction, and the mask with it, is the truth moved by (x, y, z) centimetres."""
    truth, mask, camera = example_mesh(), example_mask(), example_camera()
    moved = replace(truth, vertices=truth.vertices + np.asarray(shift, np.float32))
    seen: Mask = np.roll(mask, round(shift[0] * camera.scale), axis=1)
    return Scene(moved, truth, seen, mask, camera, truth_unmoved=truth)


@contextlib.contextmanager
def untouched_global_state() -> Iterator[None]:
    """Check that what runs inside leaves the global generators of Python, NumPy and torch as they are."""
    python, torch = importlib.import_module("random"), sys.modules.get("torch")

    def state() -> list[Any]:
        numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002  read only, to see that nobody wrote
        return [python.getstate(), repr(numpy_state), torch.get_rng_state().tolist() if torch else None]

    before = state()
    yield
    assert state() == before, "it touched a global random generator; use the generator that it is given"


# --- The checks ---


def check_card(card: CardLike) -> None:
    """Check that a card says who it is: texts are filled in and on one line, `extra` can be written as JSON."""
    for field in ("name", "version", "summary", "licence", "reference"):
        text = getattr(card, field)
        assert isinstance(text, str), f"card.{field} is {text!r}, not a text"
        assert text.strip(), f"card.{field} is empty"
    assert "\n" not in card.summary, "card.summary is longer than one line"
    assert isinstance(card.needs, frozenset), f"card.needs is a {type(card.needs).__name__}, not a frozenset"
    assert isinstance(card.extra, Mapping), f"card.extra is a {type(card.extra).__name__}, not a mapping"
    json.dumps(dict(card.extra))


SHAPES = ((96, 80), (33, 47), (32, 32))


def check_corruption(corruption: Corruption, shapes: Sequence[tuple[int, int]] = SHAPES) -> None:
    """Check that a corruption is a pure function whose parameters can be kept and replayed.

    Args:
        corruption: The plug-in.
        shapes: (H, W) of the pictures to try.
    """
    assert isinstance(corruption, Corruption)
    check_card(corruption.card)
    levels = [str(key) for key in corruption.card.extra.get("severities", {})]
    assert levels == [str(s) for s in SEVERITIES], f"card.extra['severities'] is not a table of 1..5 but of {levels}"
    changed = False
    for shape in shapes:
        image = example_image(shape)
        image.setflags(write=False)
        aux = SimpleNamespace(depth=example_depth(shape), mask=example_mask(shape))
        for severity in SEVERITIES:
            changed |= _check_one(corruption, image, severity, aux)
    assert changed, "no severity changes the picture"
    for wrong in (0, 6):
        with _refuses(f"severity {wrong}"):
            corruption.sample(wrong, shapes[0], generator(0, "x"))


def _check_one(corruption: Corruption, image: Image, severity: int, aux: Any) -> bool:
    """Check one severity on one picture; return whether the picture changed."""
    shape, where = image.shape[:2], f"severity {severity}, {image.shape[0]} x {image.shape[1]}"
    with untouched_global_state():
        params = corruption.sample(severity, (shape[0], shape[1]), generator(0, "sample", severity))
        again = corruption.sample(severity, (shape[0], shape[1]), generator(0, "sample", severity))
        replayed = json.loads(json.dumps(dict(params)))
        first, second = corruption.apply(image, params, aux), corruption.apply(image, replayed, aux)
    assert json.dumps(dict(params)) == json.dumps(dict(again)), f"equal generators draw different parameters ({where})"
    assert first.image.shape == image.shape, f"the shape became {first.image.shape} ({where})"
    assert first.image.dtype == np.uint8, f"the type became {first.image.dtype} ({where})"
    assert np.array_equal(first.image, second.image), f"parameters read back from JSON give other bytes ({where})"
    assert corruption.moves_pixels or first.affine is None, f"an affine, though moves_pixels is False ({where})"
    if corruption.moves_pixels:
        assert first.affine is not None, f"moves_pixels is True, but there is no affine ({where})"
        assert np.shape(first.affine) == (2, 3), f"the affine has shape {np.shape(first.affine)} ({where})"
        example_camera((shape[0], shape[1])).followed(first.affine, getattr(first, "view_change", None))
    json.dumps(dict(first.notes))
    return not np.array_equal(first.image, image)


def check_masker(masker: Masker, device: str = "cpu", image: Image | None = None) -> None:
    """Check that a masker returns (H, W) float32 in [0, 1], the same each time, also for a black picture.

    A masker whose card needs the true mask must refuse a bare picture with a UsageError.

    Args:
        masker: The plug-in, not opened; its weights must be at hand.
        device: Where to open it.
        image: A picture to try, or None for `example_image`.
    """
    assert isinstance(masker, Masker)
    check_card(masker.card)
    with untouched_global_state():
        assert DEVICE.fullmatch(masker.open(device)), "open() does not return the device really used"
        try:
            if "mask" in masker.card.needs:
                with _refuses("a bare picture", UsageError):
                    masker.mask(example_image())
                return
            for picture in (example_image() if image is None else image, np.zeros((64, 48, 3), np.uint8)):
                picture.setflags(write=False)
                first, second = masker.mask(picture), masker.mask(picture)
                assert first.shape == picture.shape[:2], f"the mask of {picture.shape} has shape {first.shape}"
                assert first.dtype == np.float32, f"the mask is {first.dtype}"
                assert np.isfinite(first).all(), "the mask has NaN or infinite values"
                assert first.min() >= 0, f"the mask goes down to {first.min()}"
                assert first.max() <= 1, f"the mask goes up to {first.max()}"
                assert np.array_equal(first, second), "the same picture gets two masks"
        finally:
            masker.close()


def check_encoder(encoder: Encoder, weights: Path | None = None, device: str = "cpu") -> None:
    """Check that an encoder opens strictly, gives unit vectors that no batch changes, and lets gradients through.

    Args:
        encoder: The plug-in, not opened.
        weights: A file or folder, or None for where the encoder itself looks.
        device: Where to open it.
    """
    assert isinstance(encoder, Encoder)
    check_card(encoder.card)
    dim, side = (encoder.card.extra.get(field) for field in ("dim", "input_size"))
    assert isinstance(dim, int), f"card.extra['dim'] is {dim!r}"
    assert isinstance(side, int), f"card.extra['input_size'] is {side!r}"
    pictures = [example_image(), example_image((64, 64))[:, ::-1].copy(), np.zeros((48, 64, 3), np.uint8)]
    for picture in pictures:
        picture.setflags(write=False)
    with untouched_global_state():
        report = encoder.open(device, weights)
        assert DEVICE.fullmatch(report.device), f"open() says that it uses the device '{report.device}'"
        assert re.fullmatch("[0-9a-f]{64}", report.checkpoint_sha256), "open() gives no sha256 of the weights"
        try:
            together, alone = encoder.embed(pictures), encoder.embed(pictures[1:2])
            torch = importlib.import_module("torch")
            leaf = torch.full((1, 3, side, side), 0.5, device=report.device, requires_grad=True)
            power = encoder.features(leaf).square().sum()
            assert power.requires_grad, "no gradient reaches the picture"
            slope = torch.autograd.grad(power, leaf)[0]
        finally:
            encoder.close()
    said = encoder.card.extra.get("parameters", report.parameters)
    assert said == report.parameters, f"the card says {said} parameters, open() counts {report.parameters}"
    assert together.shape == (3, dim), f"three pictures get vectors of shape {together.shape}, not (3, {dim})"
    assert together.dtype == np.float32, f"vectors are {together.dtype}"
    lengths = np.linalg.norm(together, axis=1)
    assert np.allclose(lengths, 1, atol=1e-5), f"vectors have lengths {lengths.tolist()}, not one"
    assert np.array_equal(together[1], alone[0]), "the batch changes a vector"
    assert not np.allclose(together[0], together[1]), "different pictures get the same vector"
    assert bool(torch.isfinite(slope).all() & (slope != 0).any()), "the picture's gradient is zero or not finite"


def check_metric(metric: Metric) -> None:
    """Check that a metric is a pure, finite function that prefers the truth, and says so where it has no value."""
    assert isinstance(metric, Metric)
    check_card(metric.card)
    extra = metric.card.extra
    for field in ("unit", "direction", "formula"):
        assert extra.get(field), f"card.extra has no '{field}'"
    assert extra["direction"] in ("lower", "higher"), f"direction is {extra['direction']!r}, not lower or higher"
    exact, moved = example_scene(), example_scene(shift=(6.0, 0.0, 9.0))
    with untouched_global_state():
        best, worse = metric(exact), metric(moved)
        assert metric(moved) == worse, "the same scene gets two values"
    for value in (best, worse):
        assert isinstance(value, float | int), f"{value!r} for a sound scene"
        assert np.isfinite(value), f"{value} for a sound scene"
    assert isinstance(best, float | int)
    assert isinstance(worse, float | int)
    good = best <= worse if extra["direction"] == "lower" else best >= worse
    assert good, f"the truth itself gets {best}, the truth moved by 11 cm {worse}, and {extra['direction']} is better"
    nothing = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    blank = np.zeros_like(example_mask())
    for name, scene in {
        "an empty mesh and a blank mask": replace(exact, prediction=nothing, mask=blank),
        "no prediction and no mask": replace(exact, prediction=None, mask=None),
        "no truth": replace(exact, truth=None, truth_unmoved=None, true_mask=None),
    }.items():
        value = metric(scene)
        finite = isinstance(value, float | int) and bool(np.isfinite(value))
        assert isinstance(value, Degenerate) or finite, f"{value!r} for {name}: neither finite nor Degenerate"


def check_model(model: Reconstructor, weights: Path | None = None, device: str = "cpu") -> None:
    """Check that a reconstructor opens strictly, keeps to its frame and gives a sample the same mesh in any batch.

    Args:
        model: The plug-in, not opened.
        weights: A checkpoint, or None for the model's own.
        device: Where to open it.
    """
    assert isinstance(model, Reconstructor)
    check_model_card(model.card)
    shape = (256, 256)
    image, mask, camera = example_image(shape), example_mask(shape), example_camera(shape)
    for array in (image, mask):
        array.setflags(write=False)
    front = Request("front", image, mask, camera)
    other = Request("mirrored", image[:, ::-1].copy(), mask[:, ::-1].copy(), camera)
    blank = Request("blank", image, np.zeros_like(mask), camera)
    with untouched_global_state():
        report = model.open(device, weights)
        assert isinstance(report, OpenReport)
        assert DEVICE.fullmatch(report.device), f"open() says that it uses the device '{report.device}'"
        assert re.fullmatch("[0-9a-f]{64}", report.checkpoint_sha256), "open() gives no sha256 of the checkpoint"
        try:
            alone, batch = model.reconstruct([front]), model.reconstruct([other, blank, front])
        finally:
            model.close()
    assert (len(alone), len(batch)) == (1, 3), "reconstruct() does not answer every request"
    for result in (*alone, *batch):
        _check_result(result, frozenset(model.card.extra["inputs_used"]))
    first, last = alone[0], batch[2]
    assert isinstance(first, Reconstruction), f"a sound request fails: {first}"
    assert isinstance(last, Reconstruction), f"a request fails only in a batch: {last}"
    assert np.array_equal(first.mesh.vertices, last.mesh.vertices), "the batch changes the vertices"
    assert np.array_equal(first.mesh.faces, last.mesh.faces), "the batch changes the faces"


def check_model_card(card: CardLike) -> None:
    """Check what a reconstructor's card must say beyond any card: inputs used, frame, unit, memory."""
    check_card(card)
    for field in ("inputs_used", "frame", "unit", "gpu_mem_mb"):
        assert field in card.extra, f"card.extra has no '{field}'"
    used = frozenset(card.extra["inputs_used"])
    assert used, "card.extra['inputs_used'] is empty"
    assert used <= INPUTS, f"card.extra['inputs_used'] names {sorted(used - INPUTS)}; a request has {sorted(INPUTS)}"


def _check_result(result: Reconstruction | Failure, used: frozenset[str]) -> None:
    if isinstance(result, Failure):
        assert result.message, "a failure without a message"
        return
    mesh = result.mesh
    assert mesh.vertices.dtype == np.float32, f"vertices are {mesh.vertices.dtype}"
    assert mesh.faces.dtype == np.int32, f"faces are {mesh.faces.dtype}"
    assert np.isfinite(mesh.vertices).all(), "vertices are not finite"
    assert mesh.is_empty or (mesh.faces.min() >= 0 and mesh.faces.max() < len(mesh.vertices)), "a face names no vertex"
    assert result.inputs_read <= used, f"it read {sorted(result.inputs_read)}, the card says {sorted(used)}"


def check_dataset(dataset: Dataset, root: Path, scratch: Path) -> None:
    """Check that a reader lists a sound data set the same way each time, and notices a missing picture.

    Args:
        dataset: The plug-in.
        root: A sound data set of its layout; only read.
        scratch: An empty folder for a copy that is then damaged.
    """
    assert isinstance(dataset, Dataset)
    check_card(dataset.card)
    empty, damaged = scratch / "empty", scratch / "damaged"
    empty.mkdir(parents=True)
    assert not dataset.accepts(empty), "accepts() takes an empty folder"
    assert dataset.accepts(root), "accepts() refuses a sound data set"
    assert dataset.verify(root) == [], "verify() finds problems in a sound data set"
    with untouched_global_state():
        samples = list(dataset.samples(root))
        assert samples, "there is no sample"
        ids = _ids(samples)
        assert ids == _ids(dataset.samples(root)), "the order changes from call to call"
    assert len(set(ids)) == len(ids), "two samples share an id"
    for sample in samples:
        for path in (sample.image, sample.mask, sample.depth, sample.normals, sample.mesh):
            assert path is None or path.is_file(), f"sample {sample.sample_id} names {path}, which is not there"
    revision = dataset.revision(root)
    assert revision, "the revision is empty"
    assert revision == dataset.revision(root), "the revision changes from call to call"
    shutil.copytree(root, damaged)
    assert dataset.revision(damaged) == revision, "the revision depends on where the folder lies"
    (damaged / samples[0].image.relative_to(root)).unlink()
    assert dataset.verify(damaged), "verify() does not notice a missing picture"


def _ids(samples: Any) -> list[str]:
    return [sample.sample_id for sample in samples]


@contextlib.contextmanager
def _refuses(what: str, kind: type[Exception] = Exception) -> Iterator[None]:
    try:
        yield
    except kind:
        return
    raise AssertionError(f"{what} is not refused")
