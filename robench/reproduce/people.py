"""Who is evaluated, and who is learned from: the user's data, or people that are made."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from robench.data.discover import open_dataset
from robench.engine.selection import Selection, select
from robench.errors import UsageError
from robench.reproduce.settings import LEARNERS, PEOPLE_SIZE, ReproduceOptions


class People:
    """The people of a reproduction.

    Args:
        options: What the user asked for.
    """

    def __init__(self, options: ReproduceOptions) -> None:
        self._options = options
        self._chosen: Selection | None = None

    @property
    def given(self) -> Path | None:
        """Folder of the user's data, if there is one."""
        return self._options.data

    @property
    def root(self) -> Path:
        """Folder of the evaluation's data set, there or not yet."""
        return self.given if self.given is not None else self._options.out / "people"

    @property
    def split(self) -> str | None:
        """Split of the evaluation: ``test`` where the data have one."""
        return "test" if self.given is None or "test" in splits_of(self.given) else None

    def count(self) -> int:
        """Return how many pictures are evaluated; one picture a person."""
        return self._options.subjects if self.given is None else len(self.chosen().samples)

    def make(self) -> None:
        """Make the people of the evaluation, unless the user has data; those that are there are kept."""
        if self.given is None:
            self._synthesise("test", self._options.subjects)

    def chosen(self) -> Selection:
        """Return the pictures of the evaluation, which must be there: the first of each person.

        Raises:
            UsageError: If the data cannot be read.
        """
        if self._chosen is None:
            everybody = {sample.subject_id for sample in select(self.root, split=self.split).samples}
            limit = min(self._options.subjects, len(everybody))
            self._chosen = select(self.root, split=self.split, limit=limit)
        return self._chosen

    def learners(self) -> tuple[Path, Path | None]:
        """Return data with the splits ``train``, and ``val`` if any: the user's own, else people that are made."""
        own = splits_of(self.given) if self.given is not None else []
        if self.given is not None and "train" in own:
            return self.given, self.given if "val" in own else None
        return self._synthesise("train", LEARNERS["train"]), self._synthesise("val", LEARNERS["val"])

    def _synthesise(self, split: str, count: int) -> Path:
        """Make people of `anny-humans`, seen from the front.

        Splits have folders of their own: a data set that grows is another one, and its runs would not be found again.
        """
        from robench.data.anny_humans import synthesise

        out = self._options.out / ("people" if split == "test" else f"people-{split}")
        workers, seed = max(1, self._options.workers), self._options.seed
        with contextlib.redirect_stderr(io.StringIO()) if self._options.quiet else contextlib.nullcontext():
            synthesise(out, count, [0.0], PEOPLE_SIZE, seed, split, workers)
        return out


def splits_of(root: Path) -> list[str]:
    """Return the splits that a data set has people in.

    Raises:
        UsageError: If the folder is no data set.
    """
    from robench.data.splits import NAMES

    reader = open_dataset(root).dataset
    found = []
    for name in NAMES:
        with contextlib.suppress(UsageError):  # it has no such split
            if next(iter(reader.samples(root, name)), None) is not None:
                found.append(name)
    return found
