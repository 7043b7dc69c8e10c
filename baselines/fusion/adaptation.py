"""Few-sample adaptation of a fusion: PIFu's, with the priors of each picture; what is frozen in training stays so."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import torch

from baselines.fusion.checkpoint import FusionWeights, load_fusion, save_fusion, write_places
from baselines.fusion.config import Manner, Variant
from baselines.fusion.items import PriorCache, picture_key
from baselines.fusion.network import FusionNet
from baselines.fusion.predict import matching_encoders
from baselines.fusion.train_config import FusionTrainConfig
from baselines.fusion.training import FusionRun
from baselines.pifu.adaptation import adapting, finished, history, items_of, lesson_batch
from baselines.pifu.colour import ColourNet
from baselines.pifu.device import resolve_device
from baselines.pifu.items import Batch, Item
from baselines.pifu.network import ShapeNet
from baselines.pifu.run_log import RunLog
from baselines.pifu.train_config import SHIPPED
from robench.io.files import make_folder
from robench.training.lessons import Adapted, AdaptJob


def adapt(variant: Variant, protocol: Manner, weights: Path, job: AdaptJob) -> Adapted:
    """Adapt a fusion of a variant and protocol; see `robench.training.lessons.Adaptable`.

    Raises:
        UsageError: If weights do not fit, or a mesh cannot supervise.
        EnvironmentNotReady: If weights, a frozen network or the device are not there.
        Mismatch: If a frozen network found is not the one that the checkpoint was trained with.
    """
    base, target = load_fusion(weights, variant, protocol), resolve_device(job.device)
    encoders = matching_encoders(base, target, weights)
    said = {**base.provenance.get("options", {}), "base": SHIPPED}  # which is not read: the base is the checkpoint
    said.pop("network", None)
    trained = FusionTrainConfig.from_mapping(said)
    trained = replace(trained, fusion=base.net.fusion, network=base.net.config)
    config = adapting(trained, job)
    items, checks = items_of(job.batches, config, job.scratch), items_of([job.held_out], config, job.scratch)[0]
    make_folder(job.out)
    with RunLog(job.out / "log.jsonl", False) as log:
        flat = [item for batch in items for item in batch]
        run = FusionAdaptRun(config, job.out, target, log, flat, checks, dict(job.facts), None, encoders=encoders)
        run.begin(base, items, job.scratch)
        return finished(run, base.sha256)


class FusionAdaptRun(FusionRun):
    """The run of an adaptation; see `FusionRun`."""

    base: FusionWeights
    batches: list[list[Item]]

    def begin(self, base: FusionWeights, batches: list[list[Item]], scratch: Path) -> None:
        """Take what is adapted, what to learn from, and a folder for priors, which come again at each epoch."""
        self.base, self.batches = base, batches
        self.places, self.parts = dict(base.places), dict(base.parts)
        self.cache = PriorCache(scratch / self.cache.folder.name, self._looked, together=1)

    def fresh_shape(self) -> FusionNet:
        """See `Run.fresh_shape`: the base."""
        return copy.deepcopy(self.base.net).to(self.device)

    def batch(self, step: int) -> Batch:
        """See `Run.batch`."""
        batch = lesson_batch(self.batches, self.config, step)
        return replace(batch, keys=tuple(picture_key(image) for image in batch.images))

    def export(self, path: Path, shape: ShapeNet, colour: ColourNet | None, dtype: torch.dtype) -> None:
        """See `Run.export`: in full precision, so that no step is rounded away."""
        assert isinstance(shape, FusionNet)
        save_fusion(path, shape, self.parts, history(self.base.provenance, self.facts), torch.float32)
        write_places(path.parent, self.places)
