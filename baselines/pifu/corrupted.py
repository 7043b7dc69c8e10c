"""Training items shown as evaluation shows them: the options ``corruptions`` and ``masks``.

Corrupted, with mask, camera and so points following; or with the mask that a masker finds instead of the true one. A
picture is corrupted and masked at its own size, and then resampled to the network's.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from baselines.pifu.inputs import prepare
from baselines.pifu.train_config import TrainConfig
from robench.contracts import Sample
from robench.errors import UsageError
from robench.io.files import json_text, write_text_atomic
from robench.training.masks import BLANK

if TYPE_CHECKING:
    from baselines.pifu.items import Item
    from robench.training.corrupter import Choice, Corrupter, Picture

RECORD = "corruptions.json"
_MOST_THREADS = 8


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
        self._kept: dict[tuple[str, Choice], bytes | None] = {}  # masks of pictures that come again, packed
        self._threads = ThreadPoolExecutor(workers or min(_MOST_THREADS, os.cpu_count() or 1))

    @property
    def identity(self) -> dict[str, Any]:
        """What the pictures depend on besides data and seed: ``corruptions``, ``masks``, as far as asked for."""
        masks = self.corrupter.mask_identity()
        corruptions = {} if self.corrupter.mixing is None else {"corruptions": self.corrupter.identity()}
        return corruptions if masks is None else {**corruptions, "masks": masks}

    def choices(self, items: Sequence[Item], turns: Sequence[str]) -> list[Choice]:
        """Return what becomes of each item at a turn; enough to make it again."""
        return [self.corrupter.draw(item.sample_id, turn) for item, turn in zip(items, turns, strict=True)]

    def __call__(self, items: Sequence[Item], turns: Sequence[str]) -> list[Item]:
        """Return the items as they are shown at these turns: a pure function.

        Args:
            items: Clean ones.
            turns: Name of the time at which each is shown; see `Corrupter.draw`.

        A picture that cannot be made is shown clean, and one that the masker has no mask of with the true one; `tell`
        gets a line of the first of each condition, and of the first of the masks.
        """
        return list(self._threads.map(self._shown, items, self.choices(items, turns)))

    def _shown(self, item: Item, choice: Choice) -> Item:
        if choice.severity == 0:
            return self._masked_clean(item, choice) if choice.masker else item
        sample = self._samples[item.sample_id]
        try:
            picture = self.corrupter.picture(sample, choice)
        except UsageError as error:
            # A draw that fails would fail again at every resumption: the training would be lost for one picture.
            self._tell_once(choice.condition, f"{error} It is shown clean instead, and so are others like it.")
            return item
        assert picture.true_mask is not None  # items have masks
        if picture.true_mask.max(initial=0.0) <= BLANK:
            return item  # the person left the frame: nothing to learn from, whereas the clean picture has
        ready = prepare(picture.image, np.asarray(picture.true_mask, np.float32), picture.camera, self.size)
        found = self._found(sample, choice, picture) if choice.masker else None
        mask = ready.mask if found is None else found
        # Another name: what is kept by a picture's name must not take one for the other.
        version = f"{choice.condition}@{picture.corruption_version}"
        name = f"{item.sample_id}|{version}:{choice.severity}:{choice.seed}"
        if found is not None:
            name += f"|{choice.masker}"
        return replace(item, sample_id=name, image=ready.image, mask=mask, camera=ready.camera)

    def _masked_clean(self, item: Item, choice: Choice) -> Item:
        try:
            mask = self._found(self._samples[item.sample_id], choice)
        except UsageError as error:
            self._tell_once(choice.condition, f"{error} It is shown with its true mask, and so are others like it.")
            return item
        return item if mask is None else replace(item, sample_id=f"{item.sample_id}|{choice.masker}", mask=mask)

    def _found(self, sample: Sample, choice: Choice, picture: Picture | None = None) -> NDArray[np.uint8] | None:
        """Return the masker's mask at the network's size, or None where it has none; made once for what comes again.

        Raises:
            UsageError: If the picture, where it is not given, cannot be made.
        """
        key = (sample.sample_id, choice)
        if key in self._kept:
            kept = self._kept[key]
            return None if kept is None else np.frombuffer(zlib.decompress(kept), np.uint8).reshape(self.size, -1)
        picture = picture or self.corrupter.picture(sample, choice)
        found = None
        try:
            mask = self.corrupter.mask(sample, picture)
            found = prepare(picture.image, mask, picture.camera, self.size).mask
        except UsageError as error:
            self._tell_once("", f"{error} It is shown with its true mask instead, and so are others like it.")
        if choice.severity == 0 or (self.corrupter.masking is not None and self.corrupter.masking.draws):
            self._kept[key] = None if found is None else zlib.compress(found.tobytes(), 1)
        return found

    def _tell_once(self, kind: str, text: str) -> None:
        with self._telling:
            first = kind not in self._told
            self._told.add(kind)
        if first:
            self.tell(text)


def corrupted_items(config: TrainConfig, samples: Sequence[Sample], out: Path, resume: bool) -> CorruptedItems | None:
    """Return what shows a run's items corrupted or with a masker's masks; None where the options ask for neither.

    Writes ``corruptions.json`` and ``masks.json``, versions and shares, which a resumed run must have too.

    Raises:
        UsageError: If a corruption, recipe or masker does not exist, samples lack what one needs, or a resumed run was
            started with others.
        EnvironmentNotReady: If the masker cannot be opened.
        Mismatch: If the masker's weights are not the published ones.
    """
    if config.corruptions is None and config.masks is None:
        return None
    from robench.training.corrupter import Corrupter

    corrupter = Corrupter(config.corruptions, config.seed, config.masks)
    corrupter.refuse_unable(samples)
    shown = CorruptedItems(corrupter, samples, config.network.image_size)
    for name, identity in shown.identity.items():
        record, text = out / f"{name}.json", json_text(identity)
        if resume and record.is_file() and record.read_text("utf-8") != text:
            what = f"The run in {out} was started with other {name} or versions of them"
            raise UsageError(what, expected=f"those in {record}", hint="another --out")
        write_text_atomic(record, text)
    return shown
