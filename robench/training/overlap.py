"""People that a model learned from must not be those that it is judged by: what overlaps is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from robench.contracts import Sample
from robench.data.discover import open_dataset
from robench.errors import UsageError

_HINT = "robench data synth people --split train --subjects 16, or --split train"


def refuse_test_people(samples: Sequence[Sample], root: Path, dataset: str, split: str | None) -> None:
    """Check that no sample to learn from is of the data set's own test split.

    Args:
        samples: To learn from.
        root: Their data set's folder.
        dataset: Its reader.
        split: The split that they are of, or None for none in particular.

    Raises:
        UsageError: If the split is ``test``, or a subject is in it.
    """
    if split == "test":
        raise UsageError(
            "A model must not learn from the people that it is tested on",
            got=f"the split test of {root}",
            expected="another split",
            hint=_HINT,
        )
    _refuse(samples, subjects_of(root, dataset, "test"), f"the test split of {root}")


def refuse_people_of(samples: Sequence[Sample], other: Iterable[str], whose: str) -> None:
    """Check that no sample is of somebody among others.

    Args:
        samples: To learn from.
        other: Subject ids.
        whose: What the others are, for the message.

    Raises:
        UsageError: If one is.
    """
    _refuse(samples, set(other), whose)


def subjects_of(root: Path, dataset: str | None, split: str | None) -> set[str]:
    """Return the subject ids of a split, or of a data set; none where a data set has no such split."""
    reader = open_dataset(root, dataset).dataset
    try:
        return {sample.subject_id for sample in reader.samples(root, split)}
    except UsageError:
        if split is None:
            raise
        return set()


def _refuse(samples: Sequence[Sample], others: set[str], whose: str) -> None:
    shared = sorted({sample.subject_id for sample in samples} & others)
    if shared:
        more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
        raise UsageError(
            f"The pictures to learn from show people of {whose}",
            got=f"'{shared[0]}'{more}",
            expected="other people",
            hint=_HINT,
        )
