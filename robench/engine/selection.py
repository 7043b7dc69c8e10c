"""Which samples of which data set: found on disk, chosen by the user, named by a hash."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robench import registry
from robench.contracts import Sample
from robench.data.discover import FALLBACK, open_dataset
from robench.data.ids import safe_id
from robench.errors import UsageError
from robench.io.files import sha256_bytes


@dataclass(frozen=True)
class Selection:
    """The samples of a run, in the data set's own order.

    Attributes:
        dataset: Name of the data set's reader.
        root: Its folder.
        revision: Hash of its content.
        samples: At least one.
        split: Name of the split that was asked for, or None.
        partial: True if ``--limit``, ``--subjects`` or ``--views`` left something out.
    """

    dataset: str
    root: Path
    revision: str
    samples: tuple[Sample, ...]
    split: str | None = None
    partial: bool = False

    @property
    def title(self) -> str:
        """What folder names call the data: the reader's name, or the folder's own where the reader takes any folder."""
        name = self.root.resolve().name if self.dataset == FALLBACK else self.dataset
        return safe_id(name)

    @property
    def split_sha256(self) -> str:
        """Hash of the ids of the samples, which is what a split is."""
        return sha256_bytes("\n".join(sample.sample_id for sample in self.samples).encode())


def select(
    root: Path,
    dataset: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    subjects: Sequence[str] | None = None,
    views: Sequence[float] | None = None,
) -> Selection:
    """Read a data set and choose from it.

    Args:
        root: The folder.
        dataset: Name of the reader, or None to find it.
        split: Name of a split, or None for all samples.
        limit: At most so many samples, spread over the subjects: every subject's first before anybody's second.
        subjects: Only these subject ids.
        views: Only these view angles in degrees.

    Returns:
        The chosen samples in the data set's order.

    Raises:
        UsageError: If nothing is left, an id is unknown, or two samples share an id.
    """
    reader, name, root = open_dataset(root, dataset)
    everything = list(reader.samples(root, split))
    _refuse_duplicates(everything)
    chosen = everything
    if subjects is not None:
        _refuse_unknown("subject", subjects, {s.subject_id for s in everything})
        chosen = [s for s in chosen if s.subject_id in set(subjects)]
    if views is not None:
        _refuse_unknown("view", [f"{v:g}" for v in views], {f"{s.view:g}" for s in everything})
        chosen = [s for s in chosen if s.view in set(views)]
    if limit is not None:
        if limit < 1:
            raise UsageError("The limit leaves nothing to do", got=str(limit), expected="a number of samples from 1 up")
        chosen = spread(chosen, limit)
    if not chosen:
        raise UsageError(f"{root} has no sample to work on", got=f"split {split}" if split else "an empty selection")
    revision = reader.revision(root)
    return Selection(name, root, revision, tuple(chosen), split, partial=len(chosen) < len(everything))


def spread(samples: Sequence[Sample], limit: int) -> list[Sample]:
    """Return `limit` samples, round robin over subjects, in their original order."""
    rank: dict[str, int] = defaultdict(int)
    order = []
    for position, sample in enumerate(samples):
        order.append((rank[sample.subject_id], position))
        rank[sample.subject_id] += 1
    kept = {position for _, position in sorted(order)[:limit]}
    return [sample for position, sample in enumerate(samples) if position in kept]


def _refuse_duplicates(samples: Sequence[Sample]) -> None:
    seen: set[str] = set()
    for sample in samples:
        if sample.sample_id in seen:
            raise UsageError("Two samples share an id", got=f"'{sample.sample_id}' ({sample.image})")
        seen.add(sample.sample_id)


def _refuse_unknown(what: str, wanted: Sequence[str], known: set[str]) -> None:
    for name in wanted:
        if name not in known:
            close = registry.did_you_mean(name, sorted(known))
            some = ", ".join(sorted(known)[:8]) + (", ..." if len(known) > 8 else "")
            raise UsageError(f"The data set has no {what} '{name}'", expected=f"one of {some} {close}".strip())
