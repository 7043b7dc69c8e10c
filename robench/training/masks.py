"""Whose masks training pictures are shown with: the option ``masks`` of a trainer.

In evaluation a model is mostly given the mask that a masker finds in the corrupted picture; in training it sees the
true one. This shows a share of the pictures as in evaluation::

    masks: {masker: u2netp-anny, share: 0.5, draws: 4}

The share is of all pictures, clean ones included. With ``draws`` a sample has that many pictures for which the masker
is asked, at random one of them each time: a slow network is asked once for each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Self

from robench.contracts import Mask, Masker, Sample
from robench.errors import SampleFailure, UsageError

if TYPE_CHECKING:
    from robench.engine.cells import Picture

_EXPECTED = "such as {masker: u2netp-anny, share: 0.5} and perhaps draws: 4"
BLANK = 1 / 255
"""A mask that is nowhere above this shows nobody."""


@dataclass(frozen=True)
class Masking:
    """A masker's share of the pictures.

    Attributes:
        masker: A name of ``robench list maskers``.
        share: Of all pictures, in (0, 1].
        draws: Pictures of a sample that are shown with the masker's mask; 0 for a new one each time.
    """

    masker: str
    share: float
    draws: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.share) and 0 < self.share <= 1):
            raise _wrong("share", self.share, "a share of the pictures, above 0 and up to 1")
        if self.draws < 0:
            raise _wrong("draws", self.draws, "0 or more")

    def to_json(self) -> dict[str, Any]:
        """Return plain values, which `from_value` reads."""
        return asdict(self)

    @classmethod
    def from_value(cls, value: Any) -> Self:
        """Read the value of a trainer's option.

        Raises:
            UsageError: If it is not understood, or the share is not possible.
        """
        if not isinstance(value, Mapping) or not {"masker", "share"} <= set(value) <= {"masker", "share", "draws"}:
            raise _wrong("a value", value, _EXPECTED)
        masker, share, draws = value["masker"], value["share"], value.get("draws", 0)
        if not isinstance(masker, str) or not masker:
            raise _wrong("masker", masker, "a name of `robench list maskers`")
        if isinstance(share, bool) or not isinstance(share, int | float):
            raise _wrong("share", share, "a number")
        if type(draws) is not int:
            raise _wrong("draws", draws, "a whole number")
        return cls(masker, float(share), draws)


def _wrong(name: str, value: Any, expected: str) -> UsageError:
    got = value if isinstance(value, str) else repr(value)
    return UsageError(f"The training option 'masks' has {name} that cannot be", got=got[:120], expected=expected)


class Maskers:
    """One masker, opened as often as threads use it at once: a masker works on one picture at a time.

    Always on the CPU and on one thread each, so that a training sees the same masks on every machine it is resumed on.

    Args:
        name: Of the masker.

    Raises:
        UsageError: If there is no such masker.
        EnvironmentNotReady: If it cannot be opened.
        Mismatch: If its weights are not the published ones.
    """

    def __init__(self, name: str) -> None:
        from robench.engine.masks import masker_identity

        self.name = name
        self._free: SimpleQueue[Masker] = SimpleQueue()
        first = self._opened()
        self.identity: dict[str, Any] = masker_identity(first)
        self._free.put(first)

    def _opened(self) -> Masker:
        from robench.engine.masks import load_masker

        masker = load_masker(self.name)
        if hasattr(masker, "threads"):
            masker.threads = 1
        masker.open("cpu")
        return masker

    @contextmanager
    def _borrowed(self) -> Iterator[Masker]:
        try:
            masker = self._free.get_nowait()
        except Empty:
            masker = self._opened()
        try:
            yield masker
        finally:
            self._free.put(masker)

    def mask(self, sample: Sample, picture: Picture) -> Mask:
        """Return the mask that evaluation would give of a picture.

        Args:
            sample: The clean sample, whose mask is moved by maskers that do not look.
            picture: As corrupted.

        Returns:
            (H, W) float32 in [0, 1], in steps of 1/255.

        Raises:
            UsageError: If the masker finds nobody, or fails; names sample and reason.
        """
        from robench.engine.inputs import Inputs
        from robench.engine.masks import mask_for

        with self._borrowed() as masker:
            try:
                mask = mask_for(masker, picture, Inputs(sample))
            except MemoryError:
                raise
            except Exception as error:  # a masker may be a stranger's
                reason = error.message if isinstance(error, SampleFailure) else f"{type(error).__name__}: {error}"
                raise self._lacking(sample, reason) from error
        if mask.max(initial=0.0) <= BLANK:
            raise self._lacking(sample, "it finds nobody")
        return mask

    def _lacking(self, sample: Sample, reason: str) -> UsageError:
        what = f"The masker '{self.name}' has no mask of the training picture '{sample.sample_id}'"
        return UsageError(what, got=reason)
