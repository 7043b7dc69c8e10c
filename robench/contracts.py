"""The contracts: what a corruption, masker, reconstructor, encoder, metric and data set are.

Protocols and frozen dataclasses; nothing to inherit. A plug-in that has these attributes is a plug-in.

Conventions, everywhere in robench:

* Images are ``(H, W, 3)`` uint8 sRGB. Masks are ``(H, W)`` float32 in [0, 1]. Depth is ``(H, W)`` float32 in metres
  along the viewing axis, ``+inf`` where nothing is hit.
* Pixel coordinates put integers at pixel centres (OpenCV): the image spans ``[-0.5, W-0.5] x [-0.5, H-0.5]``,
  x right, y down.
* Meshes are in centimetres. *World* frame: y up, the person faces +z at yaw 0. *View* frame: x right, y up, z towards
  the viewer, origin at the point the camera turns around.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from robench.camera import Affine as Affine
from robench.camera import Box as Box
from robench.camera import Camera as Camera
from robench.errors import FailureKind

if TYPE_CHECKING:
    from torch import Tensor

Image = NDArray[np.uint8]
Mask = NDArray[np.float32]
Depth = NDArray[np.float32]
Params = Mapping[str, Any]
"""Drawn parameters: JSON-able, so that a manifest can replay an image."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh in centimetres. Compared and hashed by identity, so that trees built on it can be kept.

    Attributes:
        vertices: (V, 3) float32.
        faces: (F, 3) int32, counter-clockwise seen from outside.
        colours: (V, 3) uint8 sRGB, or None.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    colours: NDArray[np.uint8] | None = None

    @property
    def is_empty(self) -> bool:
        """True if there is no face."""
        return len(self.faces) == 0

    def transformed(self, matrix: NDArray[np.float64]) -> Mesh:
        """Return the mesh with vertices mapped by a (4, 4) matrix; a reflection also flips the faces."""
        vertices = (self.vertices @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32)
        faces = self.faces if np.linalg.det(matrix[:3, :3]) > 0 else self.faces[:, ::-1].copy()
        return replace(self, vertices=vertices, faces=faces)


@dataclass(frozen=True)
class Sample:
    """One image of a data set, with what lies beside it. Paths, not pixels: a plan of a million cells stays small."""

    sample_id: str
    subject_id: str
    view: float
    image: Path
    mask: Path | None = None
    depth: Path | None = None
    normals: Path | None = None
    camera: Camera | None = None
    mesh: Path | None = None
    box: Box | None = None  # of the person, where the data says so


@dataclass(frozen=True)
class Card:
    """Who a plug-in is. Kinds of plug-in add their own fields in `extra`.

    Attributes:
        name: The name users type.
        version: Goes up when results change.
        summary: One line.
        licence: SPDX id.
        reference: Paper and section, or "ours".
        needs: Inputs beyond the image, e.g. ``{"depth"}``.
        extra: Kind-specific facts (severity table, unit, weights sha256, ...), printed by ``robench show``.
    """

    name: str
    version: str
    summary: str
    licence: str = "Apache-2.0"
    reference: str = "ours"
    needs: frozenset[str] = frozenset()
    extra: Mapping[str, Any] = field(default_factory=dict)


class CardLike(Protocol):
    """The attributes every card has (the corruptions package brings its own card class)."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def licence(self) -> str: ...
    @property
    def reference(self) -> str: ...
    @property
    def needs(self) -> frozenset[str]: ...
    @property
    def extra(self) -> Mapping[str, Any]: ...


class CorruptedLike(Protocol):
    """What a corruption returns.

    It may have three attributes more, each taken to be None where it is missing: ``view_change``, a (4, 4) rigid map
    from the old view frame to the new one, applied before ``affine``; ``mask`` and ``depth``, (H, W) of the person in
    the new picture where they are not the old ones moved by ``affine`` (re-rendered, hidden in part).
    """

    @property
    def image(self) -> Image: ...
    @property
    def affine(self) -> Affine | None: ...
    @property
    def notes(self) -> Mapping[str, Any]: ...


@runtime_checkable
class Corruption(Protocol):
    """A pure function on images, in two steps: draw parameters, apply them.

    ``card.extra["severities"]`` maps 1..5 to physical parameters; ``moves_pixels`` says that `apply` returns an affine.
    """

    card: CardLike
    moves_pixels: bool

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Draw JSON-able parameters for one image of shape (H, W)."""
        ...

    def apply(self, image: Image, params: Params, aux: Any) -> CorruptedLike:
        """Corrupt an image; `aux` may have ``depth`` (H, W) metres, ``mask`` (H, W), ``scene``, ``camera``, or None.

        ``scene`` is the mesh behind the picture (see `robench.rendering.scene.MeshScene`).
        """
        ...


@runtime_checkable
class Masker(Protocol):
    """Finds the person. Must be opened before use."""

    card: CardLike

    def open(self, device: str) -> str:
        """Load on ``cpu``, ``cuda`` or ``auto``; return the device really used."""
        ...

    def mask(self, image: Image) -> Mask:
        """Return a (H, W) float32 mask in [0, 1]; all zero is legal, NaN is not."""
        ...

    def close(self) -> None:
        """Free what `open` took."""
        ...


@dataclass(frozen=True)
class OpenReport:
    """What loading a checkpoint did: device really used, parameters, sha256 of the file."""

    device: str
    parameters: int
    checkpoint_sha256: str
    loaded_keys: int = 0


@dataclass(frozen=True)
class Request:
    """What a reconstructor is given for one sample; nothing else."""

    sample_id: str
    image: Image
    mask: Mask
    camera: Camera
    box: Box | None = None  # of the person, where the data says so, as it follows the picture


@dataclass(frozen=True)
class Reconstruction:
    """A predicted mesh in the request camera's view frame, centimetres."""

    mesh: Mesh
    inputs_read: frozenset[str]
    timings: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A sample that a reconstructor could not do."""

    kind: FailureKind
    message: str


@runtime_checkable
class Reconstructor(Protocol):
    """Turns a masked picture into a mesh."""

    card: CardLike

    def open(self, device: str, weights: Path | None = None) -> OpenReport:
        """Load strictly (every missing or unexpected key is named) on ``cpu``, ``cuda`` or ``auto``."""
        ...

    def reconstruct(self, requests: Sequence[Request]) -> list[Reconstruction | Failure]:
        """Reconstruct a batch; a batch never changes a result."""
        ...

    def close(self) -> None:
        """Free what `open` took."""
        ...


@runtime_checkable
class Encoder(Protocol):
    """Turns a picture into a vector: the likeness of two pictures is the cosine between theirs.

    Its card says in `extra`: ``dim``, the length of a vector, and ``input_size``, the side of the pictures that its
    network sees. Must be opened before use.
    """

    card: CardLike

    def open(self, device: str, weights: Path | None = None) -> OpenReport:
        """Load strictly (every missing or unexpected key is named) on ``cpu``, ``cuda`` or ``auto``."""
        ...

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Return (N, dim) vectors of unit length; the others of a batch never change a vector."""
        ...

    def features(self, images: Tensor) -> Tensor:
        """Return the (N, dim) vectors of (N, 3, H, W) pictures in [0, 1], not normalised; gradients flow through."""
        ...

    def close(self) -> None:
        """Free what `open` took."""
        ...


@dataclass(frozen=True)
class RefineSettings:
    """How colours are refined at test time.

    Attributes:
        iterations: Steps of Adam.
        embeddings: ``sequential`` looks from camera i mod 4 at iteration i; ``average`` from all four at once.
        rate: Learning rate.
        protocol: ``described`` as the paper on 2D priors says, or ``as-coded`` as its code did.
        size: Side of the renderings in pixels.
    """

    iterations: int = 100
    embeddings: Literal["sequential", "average"] = "sequential"
    rate: float = 1e-3
    protocol: Literal["described", "as-coded"] = "described"
    size: int = 512


@dataclass(frozen=True, eq=False)
class RefineRequest:
    """One sample to refine.

    Attributes:
        request: Picture, mask and camera.
        truth: The true mesh in the request camera's view frame, which is only measured against.
        start: Weights to begin with, as `Refinement.state` has them, instead of the model's own.
    """

    request: Request
    truth: Mesh | None = None
    start: Mapping[str, NDArray[np.float32]] | None = None


@dataclass(frozen=True, eq=False)
class Refinement:
    """One sample, refined.

    A model that can do this has ``refine(requests, encoder, settings, tick)``, which answers each of a sequence of
    `RefineRequest` with a `Refinement` or a `Failure` and calls ``tick`` after every iteration of every sample. The
    others of a batch change a result by the rounding of sums at most.

    Attributes:
        log: A row an iteration: ``iteration``, ``view`` (-1 for all four), ``loss`` (what the step minimises) and,
            where there is a true mesh with colours, ``psnr`` (dB), ``ssim``, ``truth_distance`` and ``comparison``.
        before: The means over all four views before the first step, by the names of the log.
        after: The same after the last one.
        pictures: (views, S, S, 3) uint8 by ``input``, ``before``, ``after`` and, where there is one, ``truth``.
        mesh: With the refined colours, in the request camera's view frame.
        state: The weights that changed, by name, for who carries them on.
    """

    log: Sequence[Mapping[str, float | int]]
    before: Mapping[str, float]
    after: Mapping[str, float]
    pictures: Mapping[str, Image]
    mesh: Mesh
    state: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Degenerate:
    """A metric that has no value here, and why. Never NaN, never 0, never -1."""

    kind: str


@dataclass(frozen=True)
class Scene:
    """What a metric may look at: both meshes in the same view frame, and both masks.

    Attributes:
        prediction: Predicted mesh, or None when the metric needs none.
        truth: Ground-truth mesh in the same frame, or None.
        mask: (H, W) mask that the reconstructor was given.
        true_mask: (H, W) true mask of the picture as corrupted.
        camera: The camera of the picture as corrupted.
        truth_unmoved: Ground truth in the view frame of the *clean* picture: what the paper compares with, also
            under roll.
    """

    prediction: Mesh | None
    truth: Mesh | None
    mask: Mask | None
    true_mask: Mask | None
    camera: Camera | None
    truth_unmoved: Mesh | None = None


@runtime_checkable
class Metric(Protocol):
    """A pure function with a card (``extra``: unit, direction, formula, n_points, seed, alignment)."""

    card: CardLike

    def __call__(self, scene: Scene) -> float | Degenerate:
        """Return a finite value, or say why there is none."""
        ...


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a data set on disk."""

    path: Path
    message: str


@runtime_checkable
class Dataset(Protocol):
    """A reader of one layout on disk."""

    card: CardLike

    def accepts(self, root: Path) -> bool:
        """True if the folder has this layout."""
        ...

    def samples(self, root: Path, split: str | None = None) -> Iterator[Sample]:
        """Yield samples in a stable order with stable ids."""
        ...

    def verify(self, root: Path) -> list[Problem]:
        """Return every problem found; an empty list means sound."""
        ...

    def revision(self, root: Path) -> str:
        """Return a hash of the content that results depend on."""
        ...
