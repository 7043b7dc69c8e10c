"""From a reconstruction to values: truth in the right frame, every metric with a status, penalties for failures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from robench import registry
from robench.contracts import (
    Camera,
    Degenerate,
    Failure,
    Mask,
    Mesh,
    Metric,
    Reconstruction,
    Reconstructor,
    Request,
    Sample,
    Scene,
)
from robench.engine.cells import Inputs
from robench.errors import RobenchError

PENALTY_MODEL = "mean-body"
"""The model-free reconstructor whose error a failure is given."""
NO_TRUE_MASK = "no_true_mask"
"""`Degenerate.kind` of a metric that compares with the true mask, where the data has none."""
_MESSAGE = 200


@dataclass(frozen=True)
class Score:
    """What a row says about one metric: a value, or a status and the declared penalty."""

    status: str
    value: float | None = None
    failure_value: float | None = None
    message: str = ""


class Truths:
    """Ground truth in view frames, read once a subject and placed once a view.

    The same `Mesh` object is given for the same place, and all places of a subject share the trees that distances need.
    """

    def __init__(self) -> None:
        self._world: tuple[str, Mesh] | None = None
        self._sample_id = ""
        self._placed: dict[bytes, Mesh] = {}

    def of(self, sample: Sample, camera: Camera) -> Mesh | None:
        """Return the ground truth in a camera's view frame, or None if the sample has none.

        Raises:
            SampleFailure: If the mesh cannot be read.
        """
        if sample.mesh is None:
            return None
        from robench.io.meshes import read_mesh

        if sample.sample_id != self._sample_id:
            self._sample_id, self._placed = sample.sample_id, {}
        place = camera.view_from_world.tobytes()
        if place not in self._placed:
            if self._world is None or self._world[0] != str(sample.mesh):
                self._world = str(sample.mesh), read_mesh(sample.mesh)
            self._placed[place] = self._moved(self._world[1], camera)
        return self._placed[place]

    def _moved(self, mesh: Mesh, camera: Camera) -> Mesh:
        from robench.geometry import moved

        try:
            return moved(mesh, camera.view_from_world)
        except ValueError:
            return mesh.transformed(camera.view_from_world)  # a mesh without surface: metrics say what is wrong with it


class Penalties:
    """The error that a failure is given: the mean body's on the subject's clean picture; computed when first needed.

    The body is put into the box of the true mask, or, without one, into the box of the ground truth's projection.
    Metrics that look at the mask see a blank one: a failure has no mask to be praised for.
    """

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics
        self._model: Reconstructor | None = None
        self._known: dict[str, Mapping[str, float | None]] = {}

    def of(self, inputs: Inputs, truth: Mesh | None, camera: Camera | None) -> Mapping[str, float | None]:
        """Return each metric's penalty by name; None where there is nothing to compare with.

        Args:
            inputs: The clean sample.
            truth: Ground truth in the clean camera's view frame.
            camera: The clean camera.
        """
        sample_id = inputs.sample.sample_id
        if sample_id not in self._known:
            self._known[sample_id] = self._computed(inputs, truth, camera)
        return self._known[sample_id]

    def _computed(self, inputs: Inputs, truth: Mesh | None, camera: Camera | None) -> Mapping[str, float | None]:
        if truth is None or camera is None:
            return {}
        true_mask = _true_mask(inputs)
        box = true_mask if true_mask is not None and (true_mask > 0.5).any() else _projected_box(truth, camera)
        result = self._opened().reconstruct([Request(inputs.sample.sample_id, _blank(camera), box, camera)])[0]
        mesh = result.mesh if isinstance(result, Reconstruction) else None
        scene = Scene(mesh, truth, np.zeros_like(box), box, camera, truth)
        return {metric.card.name: _worst_if_none(metric, measured(metric, scene)) for metric in self._metrics}

    def identity(self) -> dict[str, str]:
        """Return what the penalties depend on beside the data."""
        card = registry.load("models", PENALTY_MODEL).card
        weights = str(card.extra.get("checkpoint_sha256", ""))
        return {"model": card.name, "version": card.version, "checkpoint_sha256": weights}

    def _opened(self) -> Reconstructor:
        if self._model is None:
            self._model = registry.load("models", PENALTY_MODEL)
            self._model.open("cpu")
        return self._model

    def close(self) -> None:
        """Free the mean body."""
        if self._model is not None:
            self._model.close()


def _true_mask(inputs: Inputs) -> Mask | None:
    try:
        return inputs.mask
    except RobenchError:
        return None  # the picture or the mask cannot be read, which is why there is a failure at all


def _blank(camera: Camera) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.zeros((camera.height, camera.width, 3), np.uint8)


def _projected_box(truth: Mesh, camera: Camera) -> Mask:
    """Return a mask of the bounding box of a mesh that is already in the camera's view frame."""
    here = Camera(np.eye(4), camera.scale, camera.centre, camera.width, camera.height, camera.distance, camera.kind)
    pixels = here.project(truth.vertices)[:, :2]
    low, high = np.floor(pixels.min(axis=0)), np.ceil(pixels.max(axis=0))
    mask = np.zeros((camera.height, camera.width), np.float32)
    columns, lines = (slice(max(0, int(a)), max(0, int(b)) + 1) for a, b in zip(low, high, strict=True))
    mask[lines, columns] = 1.0
    return mask


def _worst_if_none(metric: Metric, value: float | Degenerate) -> float | None:
    """Return a penalty; for a bounded score such as an IoU that has none, the worst, which is 0."""
    if isinstance(value, Degenerate):
        return 0.0 if metric.card.extra.get("direction") == "higher" else None
    return value


def measured(metric: Metric, scene: Scene) -> float | Degenerate:
    """Call a metric; whatever is not a finite number is `Degenerate`."""
    value = metric(scene)
    if isinstance(value, Degenerate):
        return value
    return float(value) if math.isfinite(value) else Degenerate(f"the metric gave {value}")


def score(metric: Metric, scene: Scene, failure: Failure | None, *, has_mask: bool = False) -> Score:
    """Give one metric its value or its status; the penalty is the caller's.

    Args:
        metric: The metric.
        scene: What there is; ``prediction`` is None after a failure.
        failure: Why there is no reconstruction, or None. A model cannot skip: its ``skipped`` is a failure.
        has_mask: Whether the data set has a true mask of the sample, even if it could not be read.

    Returns:
        ``ok`` with a value; the failure's kind; ``skipped`` where the data has nothing to compare with; ``degenerate``
        where the metric has no value; ``failed`` where it raised.
    """
    try:
        value = measured(metric, scene)
    except Exception as error:
        # One strange mesh must not end a run of hours; the row says what happened.
        name = metric.card.name
        return Score("failed", message=f"{name} raised {type(error).__name__}: {error}"[:_MESSAGE])
    if not isinstance(value, Degenerate):
        return Score("ok", value)
    if value.kind == NO_TRUE_MASK and not has_mask:
        return Score("skipped", message="the data set has no true mask of this sample")
    if failure is not None:
        kind = "failed" if failure.kind == "skipped" else failure.kind
        return Score(kind, message=failure.message[:_MESSAGE])
    if scene.truth is None:
        return Score("skipped", message="the data set has no ground truth of this sample")
    return Score("degenerate", message=value.kind[:_MESSAGE])
