"""Training items shown corrupted, with mask, camera and so points following: the option ``corruptions``.

A picture is corrupted at its own size, as in evaluation, and then resampled to the network's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.pifu.inputs import prepare
from baselines.pifu.train_config import TrainConfig
from robench.contracts import Sample
from robench.errors import UsageError
from robench.io.files import json_text, write_text_atomic

if TYPE_CHECKING:
    from baselines.pifu.items import Item
    from robench.training.corrupter import Choice, Corrupter

RECORD = "corruptions.json"
_MOST_THREADS = 8
_BLANK = 1 / 255  # a mask that is nowhere above this shows nobody


class CorruptedItems:
    """Shows items as a corrupter draws them.

    Args:
        corrupter: Draws and makes the pictures.
        samples: Of all items, by id.
        size: Side of the network's pictures in pixels.
        workers: Threads that make the pictures of a batch, None for one a core up to 8; they change nothing in it.

    Attributes:
        tell: Gets a line of what goes wrong.
    """

    def __init__(self, corrupter: Corrupter, samples: Sequence[Sample], size: int, workers: int | None = None) -> None:
        self.corrupter, self.size = corrupter, size
        self._samples = {sample.sample_id: sample for sample in samples}
        self.tell: Callable[[str], None] = lambda text: None
        self._told: set[str] = set()
        self._telling = Lock()
        self._threads = ThreadPoolExecutor(workers or min(_MOST_THREADS, os.cpu_count() or 1))

    @property
    def identity(self) -> dict[str, Any]:
        """What the pictures depend on besides data and seed."""
        return self.corrupter.identity()

    def choices(self, items: Sequence[Item], turns: Sequence[str]) -> list[Choice]:
        """Return what becomes of each item at a turn; enough to make it again."""
        return [self.corrupter.draw(item.sample_id, turn) for item, turn in zip(items, turns, strict=True)]

    def __call__(self, items: Sequence[Item], turns: Sequence[str]) -> list[Item]:
        """Return the items as they are shown at these turns: a pure function.

        Args:
            items: Clean ones.
            turns: Name of the time at which each is shown; see `Corrupter.draw`.

        A picture that cannot be made is shown clean; `tell` gets a line of the first of each condition.
        """
        return list(self._threads.map(self._shown, items, self.choices(items, turns)))

    def _shown(self, item: Item, choice: Choice) -> Item:
        if choice.severity == 0:
            return item
        try:
            picture = self.corrupter.picture(self._samples[item.sample_id], choice)
        except UsageError as error:
            # A draw that fails would fail again at every resumption: the training would be lost for one picture.
            with self._telling:
                first = choice.condition not in self._told
                self._told.add(choice.condition)
            if first:
                self.tell(f"{error} It is shown clean instead, and so are others like it.")
            return item
        assert picture.true_mask is not None  # items have masks
        if picture.true_mask.max(initial=0.0) <= _BLANK:
            return item  # the person left the frame: nothing to learn from, whereas the clean picture has
        ready = prepare(picture.image, np.asarray(picture.true_mask, np.float32), picture.camera, self.size)
        # Another name: what is kept by a picture's name must not take one for the other.
        version = f"{choice.condition}@{picture.corruption_version}"
        name = f"{item.sample_id}|{version}:{choice.severity}:{choice.seed}"
        return replace(item, sample_id=name, image=ready.image, mask=ready.mask, camera=ready.camera)


def corrupted_items(config: TrainConfig, samples: Sequence[Sample], out: Path, resume: bool) -> CorruptedItems | None:
    """Return what shows a run's items corrupted, or None where the options ask for clean ones alone.

    Writes ``corruptions.json``, the versions and shares, which a resumed run must have too.

    Raises:
        UsageError: If a corruption or recipe does not exist, samples lack what one needs, or a resumed run was started
            with others.
    """
    if config.corruptions is None:
        return None
    from robench.training.corrupter import Corrupter

    corrupter = Corrupter(config.corruptions, config.seed)
    corrupter.refuse_unable(samples)
    record, text = out / RECORD, json_text(corrupter.identity())
    if resume and record.is_file() and record.read_text("utf-8") != text:
        what = f"The run in {out} was started with other corruptions or versions of them"
        raise UsageError(what, expected=f"those in {record}", hint="another --out")
    write_text_atomic(record, text)
    return CorruptedItems(corrupter, samples, config.network.image_size)
