"""Where the depth of a picture comes from: given, rendered from the true mesh, estimated, or a plane. Never silently.

A list of sources is tried in order for each sample, by what lies on disk for it: the sample's own depth file, matched
by name and size; its ground-truth mesh seen by its camera; a depth network, where the user brought weights; and a plane
at a constant distance, where the user asked for one by name. What was used stands on every row of a set's index and,
where pixels depend on it, in the identity of the set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from robench import registry
from robench.contracts import Depth, Image, Sample
from robench.data.ids import safe_id
from robench.errors import UsageError
from robench.io.depth import STEP, depth_unit, read_depth_counted

SOURCES: Final = ("given", "mesh", "dpt", "plane")
AUTO: Final = ("given", "mesh")
"""What ``auto`` means without weights: everything that is true."""
PLANE_M: Final = 3.0
"""Metres to the plane: where a person stands who is photographed whole."""
RENDERER: Final = "raycast-1"
"""Version of the depth rendered from a mesh; goes up when its values change."""


@dataclass(frozen=True, eq=False)
class DepthMap:
    """The depth of one picture.

    Attributes:
        depth: (H, W) float32 metres along the viewing axis, ``+inf`` where nothing is there.
        source: One of `SOURCES`.
        invalid: Pixels without a usable value by kind (`robench.io.depth.read_depth_counted`); only of a given file.
    """

    depth: Depth
    source: str
    invalid: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class DepthSources:
    """The sources to try, in order. Plain values, so that worker processes get it, too.

    Attributes:
        order: Some of `SOURCES`.
        unit: Unit of depth files that do not declare one (None: PNGs must declare it, arrays are metres).
        weights: Folder of the depth network, for ``dpt``.
        weights_sha256: Hash of what is in it.
        stored: Folder in which estimates were put down by sample id, or None to estimate when asked.
    """

    order: tuple[str, ...] = AUTO
    unit: str | None = None
    weights: Path | None = None
    weights_sha256: str | None = None
    stored: Path | None = None

    def source_of(self, sample: Sample) -> str | None:
        """Return where the sample's depth comes from, or None if there is none; looks at paths, opens nothing."""
        has = {
            "given": sample.depth is not None,
            "mesh": sample.mesh is not None and sample.camera is not None,
            "dpt": True,
            "plane": True,
        }
        return next((source for source in self.order if has[source]), None)

    def read(self, sample: Sample, image: Image, rendered: Callable[[], Depth]) -> DepthMap | None:
        """Return the depth of a sample, or None if it has none.

        Args:
            sample: The sample.
            image: (H, W, 3) uint8 clean picture, for its size and for a network.
            rendered: Renders the depth of the sample's mesh before its camera; called only where that is the source.

        Raises:
            SampleFailure: If the depth file or the mesh cannot be read or does not belong to the picture.
            UsageError: If the unit of a PNG is not declared.
            EnvironmentNotReady: If the depth network cannot run here.
        """
        source = self.source_of(sample)
        shape = image.shape[0], image.shape[1]
        if source == "given":
            assert sample.depth is not None
            unit = None if self.unit is None else depth_unit(self.unit)
            depth, invalid = read_depth_counted(sample.depth, shape, unit)
            return DepthMap(depth, source, invalid)
        if source == "mesh":
            return DepthMap(rounded(rendered()), source)
        if source == "dpt":
            return DepthMap(self._estimated(sample, image), source)
        if source == "plane":
            return DepthMap(np.full(shape, PLANE_M, np.float32), source)
        return None

    def _estimated(self, sample: Sample, image: Image) -> Depth:
        if self.stored is not None:
            return read_depth_counted(estimate_path(self.stored, sample), (image.shape[0], image.shape[1]))[0]
        assert self.weights is not None
        from robench.data.dpt import estimator

        return rounded(estimator(self.weights).estimate(image))

    def identity(self, samples: Sequence[Sample]) -> dict[str, Any] | None:
        """Return what pictures depend on beside the data: None where every depth is the data's own, as declared."""
        used = {self.source_of(sample) for sample in samples}
        order = [source for source in self.order if source in used]
        unit = self.unit if "given" in order else None
        if order in ([], ["given"]) and unit is None:
            return None
        about: dict[str, Any] = {"order": order}
        if unit is not None:
            about["unit"] = unit
        if "mesh" in order:
            about["mesh"] = RENDERER
        if "dpt" in order:
            from robench.data.dpt import VERSION

            about["dpt"] = {"version": VERSION, "weights_sha256": self.weights_sha256}
        if "plane" in order:
            about["plane_m"] = PLANE_M
        return about

    def facts(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Return what a manifest says: enough for `from_facts`, and how many samples have which source."""
        counts = Counter(self.source_of(sample) or "none" for sample in samples)
        return {
            "order": list(self.order),
            "unit": self.unit,
            "weights_sha256": self.weights_sha256,
            "samples": dict(sorted(counts.items())),
            "identity": self.identity(samples),
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> DepthSources:
        """Return the sources that a manifest tells of. They cannot estimate: the weights were the user's."""
        return cls(tuple(facts["order"]), facts["unit"], None, facts["weights_sha256"])


def choose_depth(text: str | None, weights: Path | None = None, unit: str | None = None) -> DepthSources:
    """Return the sources that ``--depth``, ``--depth-weights`` and ``--depth-unit`` mean together.

    Args:
        text: ``auto`` (given, else from the mesh, else by the network where weights are given), or sources with commas
            between, tried in that order. None for ``auto``.
        weights: Folder of a depth network.
        unit: Unit of the depth files.

    Raises:
        UsageError: If a source is unknown, or ``dpt`` and the weights do not come together.
        EnvironmentNotReady: If the folder of weights is not there or has no model in it.
    """
    names = [part.strip() for part in ("auto" if text is None else text).split(",")]
    order: list[str] = []
    for name in names:
        if name == "auto":
            order += [*AUTO, *(["dpt"] if weights is not None else [])]
        elif name in SOURCES:
            order.append(name)
        else:
            close = registry.did_you_mean(name, ["auto", *SOURCES])
            expected = f"auto, or some of {', '.join(SOURCES)} with commas between {close}".strip()
            raise UsageError("Depth cannot come from there", got=f"'{name}'", expected=expected)
    order = list(dict.fromkeys(order))
    if "dpt" in order and weights is None:
        raise UsageError(
            "Depth is to be estimated, but there is no network for it",
            expected="--depth-weights DIR, the folder of a DPT as transformers saves it",
        )
    if weights is not None and "dpt" not in order:
        raise UsageError("Weights of a depth network are given, but 'dpt' is no source", got=f"--depth {text}")
    sha256 = None
    if weights is not None:
        from robench.data.dpt import weights_sha256

        sha256 = weights_sha256(weights)
    return DepthSources(tuple(order), None if unit is None else depth_unit(unit), weights, sha256)


def rounded(depth: Depth) -> Depth:
    """Return depth in whole steps of `STEP`: as it reads back when stored, and the same where the last bit differs."""
    return (np.maximum(np.rint(depth.astype(np.float64) / STEP), 1) * STEP).astype(np.float32)


def estimate_path(folder: Path, sample: Sample) -> Path:
    """Return where the estimate of a sample is put down."""
    return folder / f"{safe_id(sample.sample_id)}.npz"
