"""Estimated depth is put down in the set before anything else: made once a sample, the same for every process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from robench.contracts import Sample
from robench.data.depth_sources import DepthSources, estimate_path
from robench.engine.inputs import Inputs
from robench.engine.progress import progress
from robench.errors import SampleFailure
from robench.io.depth import read_depth, write_depth
from robench.io.files import sha256_file

ESTIMATES: Final = "depth/dpt"
"""Folder of estimates in a set, a ``.npz`` of metres a sample: what its pictures were made with, exactly."""


def write_estimates(samples: Sequence[Sample], depths: DepthSources, *, fresh: bool, quiet: bool) -> None:
    """Estimate and store the depth of the samples that have none yet; one that is there and sound is kept.

    A sample whose picture cannot be read is left out: its pictures fail for that reason.

    Raises:
        EnvironmentNotReady: If the depth network cannot run here.
    """
    assert depths.stored is not None
    missing = [s for s in samples if depths.source_of(s) == "dpt" and (fresh or not _is_sound(depths.stored, s))]
    ask = replace(depths, stored=None)
    with progress("depth", len(missing), "images", quiet=quiet) as advance:
        for sample in missing:
            try:
                found = Inputs(sample, ask).depth
            except SampleFailure:
                advance(1, 1)
                continue
            assert found is not None
            write_depth(estimate_path(depths.stored, sample), found)
            advance()


def _is_sound(folder: Path, sample: Sample) -> bool:
    try:
        read_depth(estimate_path(folder, sample))
    except SampleFailure:
        return False
    return True


def estimate_hashes(folder: Path, samples: Sequence[Sample], depths: DepthSources) -> dict[str, str]:
    """Return relative POSIX path → SHA-256 of the estimates that lie in a set."""
    assert depths.stored is not None
    paths = [estimate_path(depths.stored, sample) for sample in samples]
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in paths if path.is_file()}
