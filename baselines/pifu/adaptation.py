"""Few-sample adaptation: a trained PIFu tuned by a few steps of Adam on pictures with ground truth.

Source: Fantini, Li and Liu, "Potential of 2D Priors for Improving Robustness of Ill-Posed 3D Reconstruction", 2023,
which takes 2 and 3 batches of 16 corrupted pictures at a rate of 7e-4. The supervision is that of the training:
occupancies of points, drawn anew each time. Pictures are shown as they are, neither mirrored nor moved; all weights of
the shape net learn.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from baselines.pifu.checkpoint import Weights, load_weights, save_weights
from baselines.pifu.colour import ColourNet
from baselines.pifu.device import resolve_device
from baselines.pifu.inputs import prepare
from baselines.pifu.items import Batch, Item, augmented
from baselines.pifu.network import ShapeNet
from baselines.pifu.run_log import RunLog
from baselines.pifu.sampling import Pool, choose, load_pool
from baselines.pifu.train_config import TrainConfig
from baselines.pifu.train_state import STATE_FILE
from baselines.pifu.training import MODEL_FILE, SHAPE_FILE, Run
from robench import rng as seeds
from robench.errors import UsageError
from robench.io.files import make_folder
from robench.training.lessons import Adapted, AdaptJob, Lesson

HISTORY = "adapted"
"""Key of a checkpoint's provenance: a list of what it was adapted by, the first adaptation first."""
_POINTS, _POOL = 5000, 100_000  # as published, for weights that do not say how they were trained
_NEVER = 10**9


def adapt(weights: Path, job: AdaptJob) -> Adapted:
    """Adapt PIFu; see `robench.training.lessons.Adaptable`.

    Raises:
        UsageError: If weights do not fit, or a mesh cannot supervise.
        EnvironmentNotReady: If weights or the device are not there.
    """
    base = load_weights(weights)
    said = base.provenance.get("options")
    trained = TrainConfig.from_mapping(said) if said else TrainConfig(points=_POINTS, pool=_POOL)
    config = adapting(replace(trained, network=base.config), job)
    items, checks = items_of(job.batches, config, job.scratch), items_of([job.held_out], config, job.scratch)[0]
    make_folder(job.out)
    with RunLog(job.out / "log.jsonl", False) as log:
        flat = [item for batch in items for item in batch]
        run = AdaptRun(config, job.out, resolve_device(job.device), log, flat, checks, dict(job.facts), None)
        run.base, run.batches = base, items
        return finished(run, base.sha256)


def adapting(trained: TrainConfig, job: AdaptJob) -> TrainConfig:
    """Return the options of an adaptation: Adam at a constant rate, nothing averaged, clipped or augmented.

    Args:
        trained: Options of the training that the weights are of: number and spread of points, precision.
        job: Its batches have at least one lesson each, all as many.

    Raises:
        UsageError: If a number is not possible, or batches differ in size.
    """
    sizes = {len(batch) for batch in job.batches}
    if len(sizes) > 1 or 0 in sizes:
        raise UsageError("Batches to adapt on must be of one size", got=", ".join(map(str, sorted(sizes))))
    if not (np.isfinite(job.lr) and job.lr > 0) or job.epochs < 1:
        raise UsageError("An adaptation needs a learning rate above 0 and an epoch", got=f"{job.lr:g} and {job.epochs}")
    return replace(
        trained,
        seed=job.seed,
        steps=max(len(job.batches) * job.epochs, 1),
        batch=max(sizes, default=1),
        optimizer="adam",
        lr=job.lr,
        schedule="steps",
        milestones=(),
        warmup=0,
        clip_norm=0.0,
        flip=0.0,
        zoom=0.0,
        shift=0.0,
        ema=0.0,
        keep="last",
        log_every=1,
        val_every=_NEVER,
        save_every=_NEVER,
        colour_steps=0,
        corruptions=None,
    )


def items_of(batches: Sequence[Sequence[Lesson]], config: TrainConfig, scratch: Path) -> list[list[Item]]:
    """Return lessons as the network sees them, with the points of their subjects."""
    pools: dict[Path, Pool] = {}

    def item(lesson: Lesson) -> Item:
        if lesson.mesh not in pools:
            pools[lesson.mesh] = load_pool(
                lesson.mesh, scratch / "points", config.pool, config.sigmas_cm, config.uniform_share, config.seed
            )
        ready = prepare(lesson.image, lesson.mask, lesson.camera, config.network.image_size)
        return Item(lesson.name, ready.image, ready.mask, ready.camera, pools[lesson.mesh])

    return [[item(lesson) for lesson in batch] for batch in batches]


def lesson_batch(batches: Sequence[Sequence[Item]], config: TrainConfig, step: int) -> Batch:
    """Return the batch of a step: the batches in turn, their points drawn anew; a pure function."""
    images, points, labels = [], [], []
    for item in batches[step % len(batches)]:
        rng = seeds.generator(config.seed, item.sample_id, "pifu-adapt", step)
        world, label = choose(item.pool, config.points, rng)
        image, moved = augmented(item, world, config, rng)
        images.append(image)
        points.append(moved)
        labels.append(label[None])
    return Batch(np.stack(images), np.stack(points), np.stack(labels))


def history(provenance: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint said of its making with one more adaptation."""
    return {**provenance, HISTORY: [*provenance.get(HISTORY, []), dict(facts)]}


def finished(run: Run, base_sha256: str) -> Adapted:
    """Let a run adapt, or write its base where it has nothing to learn from; only the checkpoint and the log stay."""
    # Of an adaptation that was cut off: it is begun anew, which takes no longer than to read it.
    (run.out / STATE_FILE).unlink(missing_ok=True)
    error = None
    if run.items:
        path = run.go()
        error = run.log.kept.get("val_mse")
    else:
        path, net = run.out / MODEL_FILE, run.fresh_shape()
        run.export(path, net, None, torch.float32)
        if run.checks:
            error = run.judged(net)["val_mse"]
    for name in (STATE_FILE, SHAPE_FILE):
        (run.out / name).unlink(missing_ok=True)
    return Adapted(path, base_sha256, error)


class AdaptRun(Run):
    """The run of an adaptation.

    Attributes:
        base: What is adapted.
        batches: To learn from, in their order.
    """

    base: Weights
    batches: list[list[Item]]

    def fresh_shape(self) -> ShapeNet:
        """See `Run.fresh_shape`: the base."""
        return copy.deepcopy(self.base.shape).to(self.device)

    def batch(self, step: int) -> Batch:
        """See `Run.batch`."""
        return lesson_batch(self.batches, self.config, step)

    def export(self, path: Path, shape: ShapeNet, colour: ColourNet | None, dtype: torch.dtype) -> None:
        """See `Run.export`: with the base's colours, in full precision, so that no step is rounded away."""
        save_weights(path, shape, self.base.colour, history(self.base.provenance, self.facts), torch.float32)
