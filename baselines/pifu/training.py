"""Training of both networks: seeded, resumable, the averaged weights exported.

A step depends on the options and its own number only, so a run that was stopped and resumed ends in the weights of one
that was not (same machine, same thread count).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from baselines.pifu.adapter import MINI_WEIGHTS
from baselines.pifu.checkpoint import MODEL_FILE as MODEL_FILE
from baselines.pifu.checkpoint import Weights, load_own, load_weights, save_weights
from baselines.pifu.colour import ColourNet
from baselines.pifu.corrupted import CorruptedItems, corrupted_items
from baselines.pifu.device import reduced_precision, resolve_device
from baselines.pifu.items import (
    Batch,
    Item,
    MakeItem,
    Shown,
    as_they_are,
    colour_batch,
    evenly,
    load_items,
    opened,
    plain_item,
    shape_batch,
    validation_batch,
)
from baselines.pifu.network import Encoded, ShapeNet, init_weights, stack_loss
from baselines.pifu.run_log import RunLog
from baselines.pifu.train_config import SHIPPED, TrainConfig, read_train_config
from baselines.pifu.train_state import (
    STATE_FILE,
    Average,
    Phase,
    learning_rate,
    load_state_file,
    make_optimizer,
    open_run,
    save_state_file,
)
from robench import rng as seeds
from robench.contracts import Sample
from robench.errors import UsageError
from robench.io.files import sha256_file

N = TypeVar("N", bound=nn.Module)
SHAPE_FILE = "shape.safetensors"
# Of a time limit, so much is kept for the colour net.
_COLOUR_SHARE = 0.15


def train(
    config_path: Path,
    data: Path,
    out: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    max_minutes: float | None = None,
) -> Path:
    """Train PIFu on a data set with splits ``train`` and ``val``.

    Args:
        config_path: YAML options, see `TrainConfig`.
        data: Root of a data set that a registered reader accepts.
        out: Run folder: ``log.jsonl``, ``last.pt`` to resume from, ``model.safetensors`` (averaged weights).
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
        resume: Go on with the run in `out`.
        max_minutes: Stop after so long, with weights written; resume later to go on.

    Returns:
        The path of ``model.safetensors``.

    Raises:
        UsageError: If options, data or the run folder do not fit.
        EnvironmentNotReady: If the device is not there.
    """
    config = read_train_config(config_path, TrainConfig)
    starting(config)  # what does not fit is told before hours of points, not after
    training, validation, facts = opened(data)
    return fit(config, training, validation, out, facts, device=device, resume=resume, max_minutes=max_minutes)


def starting(config: TrainConfig) -> Weights | None:
    """Return the weights that a training begins from; None where it begins from drawn ones.

    Raises:
        UsageError: If they cannot be read, or their networks have other options than those to be trained.
    """
    if not config.start:
        return None
    found = load_weights(MINI_WEIGHTS if config.start == SHIPPED else Path(config.start))
    theirs, ours = asdict(found.config), asdict(config.network)
    differing = [f"{name} {theirs[name]}, not {ours[name]}" for name in ours if theirs[name] != ours[name]]
    if differing:
        raise UsageError(
            f"The networks to start from ({config.start}) are not those to be trained",
            got="; ".join(differing),
            hint="the same 'network' in the training's options",
        )
    return found


def fit(
    config: TrainConfig,
    training: Sequence[Sample],
    validation: Sequence[Sample],
    out: Path,
    facts: dict[str, Any],
    *,
    device: str = "cpu",
    resume: bool = False,
    max_minutes: float | None = None,
    kind: Callable[..., Run] | None = None,
    make: MakeItem = plain_item,
) -> Path:
    """Train on given samples, by a kind of run on items that `make` makes; `facts` go into the file; else as `train`.

    Raises:
        UsageError: If options, samples or the run folder do not fit.
        EnvironmentNotReady: If the device is not there.
    """
    if not training:
        raise UsageError("There is nothing to train on", got="0 samples in the split 'train'")
    target = resolve_device(device)
    open_run(config, out, resume)
    shown = corrupted_items(config, [*training, *validation], out, resume)
    with RunLog(out / "log.jsonl", resume) as log:
        items = load_items(training, config, out / "points", log.say, make=make)
        checks = load_items(evenly(validation, config.val_images), config, out / "points", log.say, make=make)
        if shown is not None:  # judged by clean pictures and by pictures such as it sees
            shown.tell = log.say
            checks += shown(checks, ["validation"] * len(checks))
        run = (kind or Run)(config, out, target, log, items, checks, facts, max_minutes)
        run.shown = shown or as_they_are
        return run.go()


class Run:
    """One training run in its folder. Systems built on PIFu's shape net replace its first methods."""

    def __init__(
        self,
        config: TrainConfig,
        out: Path,
        device: torch.device,
        log: RunLog,
        items: list[Item],
        checks: list[Item],
        facts: dict[str, Any],
        max_minutes: float | None,
    ) -> None:
        self.config, self.out, self.device, self.log = config, out, device, log
        self.items, self.checks, self.facts = items, checks, facts
        self.started = time.monotonic()
        self.limit = float("inf") if max_minutes is None else 60.0 * max_minutes
        self.amp = reduced_precision(device, config.precision)
        self.shown: Shown = as_they_are

    def fresh_shape(self) -> ShapeNet:
        """Return the shape net to train, as initialised, on the device."""
        return self._fresh(ShapeNet)

    def batch(self, step: int) -> Batch:
        """Return the shape net's batch of a step: a pure function, called ahead in another thread."""
        return shape_batch(self.items, self.config, step, self.shown)

    def check_batch(self, item: Item) -> Batch:
        """Return the batch that validates on an item."""
        return validation_batch(item, self.config.val_points, self.config.seed)

    def encode(self, net: ShapeNet, batch: Batch) -> Encoded:
        """Return the feature maps of a batch's images."""
        return net.filter(self.put(batch.images))

    def kept_state(self, net: nn.Module) -> dict[str, Tensor]:
        """Return the tensors of a network that the file to resume from holds."""
        return net.state_dict()

    def take_back(self, net: nn.Module, state: dict[str, Tensor]) -> None:
        """Put back what `kept_state` gave."""
        net.load_state_dict(state)

    def keep_shape(self, net: ShapeNet) -> None:
        """Write a shape net to `SHAPE_FILE`."""
        save_weights(self.out / SHAPE_FILE, net, None, {"part": "shape net of a run"})

    def kept_shape(self) -> ShapeNet:
        """Return what `keep_shape` wrote."""
        return load_own(self.out / SHAPE_FILE).shape

    def export(self, path: Path, shape: ShapeNet, colour: ColourNet | None, dtype: torch.dtype) -> None:
        """Write the file that is the run's result."""
        save_weights(path, shape, colour, self.provenance(), dtype)

    def go(self) -> Path:
        """Train, from where the run stands to its end or its time limit; return the exported file."""
        state = load_state_file(self.out / STATE_FILE)
        net = self.fresh_shape()
        done = state is not None and state["phase"] == "colour"
        shape_limit = self.limit * (1 - _COLOUR_SHARE) if self.config.colour_steps else self.limit
        if not done:
            finished = self._fit(self._shape_phase(net), state, shape_limit)
            state = None
            if not finished:
                self.log.say("the time limit stopped the shape net early; --resume goes on with it")
        shape = self.kept_shape().to(self.device)
        colour: ColourNet | None = None
        coloured = all(i.pool.colours is not None for i in self.items)
        if self.config.colour_steps and coloured and (done or finished):
            colour = self._fresh(ColourNet)
            self._fit(self._colour_phase(colour, shape), state, self.limit)
            colour = self.best_colour
        path = self.out / MODEL_FILE
        dtype = torch.float16 if self.config.export_dtype == "float16" else torch.float32
        self.export(path, shape, colour, dtype)
        self.log.say(f"wrote {path} (sha256 {sha256_file(path)[:12]})")
        return path

    def _fresh(self, kind: type[N]) -> N:
        words = seeds.generator(self.config.seed, kind.__name__, "init").integers(2**62)
        begun = self._begun(kind)
        if begun is not None:
            net = begun
        elif self.config.init == "published":
            net = kind(self.config.network)
            init_weights(net, torch.Generator().manual_seed(int(words)))
        else:
            # torch's own initialisation draws from the global generator; the fork leaves that as it was.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(words))
                net = kind(self.config.network)
        return net.to(self.device)

    def _begun(self, kind: type[N]) -> N | None:
        start = starting(self.config)
        if start is None:
            return None
        self.facts = {**self.facts, "start_sha256": start.sha256}
        return next((net for net in (start.shape, start.colour) if isinstance(net, kind)), None)

    def provenance(self) -> dict[str, Any]:
        """Return what the exported file says about its making."""
        import json

        shown = self.shown.identity if isinstance(self.shown, CorruptedItems) else {}
        return {
            **self.facts,
            **shown,
            "subjects": len({id(i.pool) for i in self.items}),
            "images": len(self.items),
            "options": json.loads(self.config.to_json()),
            "device": self.device.type,
            "bfloat16": self.amp,
            "torch": torch.__version__,
            "minutes": round((time.monotonic() - self.started) / 60, 1),
            "validation": self.log.kept,
        }

    def autocast(self) -> Any:
        """Return the context in which images are filtered."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.amp else nullcontext()

    def put(self, array: Any) -> Tensor:
        """Return an array as a tensor on the device."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device, non_blocking=True)

    def _identity(self, count: int) -> Tensor:
        return torch.eye(4, device=self.device).expand(count, 4, 4)

    def _predict(self, net: ShapeNet, batch: Batch, *, every_stack: bool) -> list[Tensor]:
        with self.autocast():
            encoded = self.encode(net, batch)
        # The classifier stays in float32: bfloat16 saves it no time and cannot tell 0.998 from 1.
        encoded.maps = [m.float() for m in encoded.maps]
        encoded.stem = encoded.stem.float()
        return net.query(encoded, self.put(batch.points), self._identity(len(batch.images)), every_stack=every_stack)

    def judged(self, net: ShapeNet) -> dict[str, float]:
        """Return the mean squared error and IoU of a shape net's occupancies over the items to check."""
        squares, ious = [], []
        for item in self.checks:
            batch = self.check_batch(item)
            with torch.no_grad():
                found = self._predict(net, batch, every_stack=False)[-1].cpu().numpy()
            squares.append(float(np.mean((found - batch.targets) ** 2)))
            guess, truth = found > 0.5, batch.targets > 0.5
            ious.append(float((guess & truth).sum() / max((guess | truth).sum(), 1)))
        return {"val_mse": float(np.mean(squares)), "val_iou": float(np.mean(ious))}

    def _shape_phase(self, net: ShapeNet) -> Phase[ShapeNet]:
        def loss(module: ShapeNet, batch: Batch) -> Tensor:
            return stack_loss(self._predict(module, batch, every_stack=True), self.put(batch.targets))

        config, check = self.config, self.judged if self.checks else None
        return Phase("shape", net, config.steps, config.lr, self.batch, loss, check, self.keep_shape, SHAPE_FILE)

    def _colour_phase(self, net: ColourNet, shape: ShapeNet) -> Phase[ColourNet]:
        self.best_colour: ColourNet | None = None

        def loss(module: ColourNet, batch: Batch) -> Tensor:
            images = self.put(batch.images)
            with self.autocast():
                with torch.no_grad():
                    features = shape.filter(images).maps[-1].float()
                colours = module.filter(images)
            found = module.query(features, colours.float(), self.put(batch.points), self._identity(len(images)))
            return module.loss(found, self.put(batch.targets))

        def keep(module: ColourNet) -> None:
            self.best_colour = module

        def batch(step: int) -> Batch:
            return colour_batch(self.items, self.config, step, self.shown)

        return Phase("colour", net, self.config.colour_steps, self.config.colour_lr, batch, loss, None, keep)

    def _fit(self, phase: Phase[N], state: dict[str, Any] | None, limit: float) -> bool:
        """Train one phase; return False if the time limit came first. The averaged network to export has been kept."""
        config, net = self.config, phase.net
        optimizer = make_optimizer("adam" if phase.name == "colour" else config.optimizer, net, phase.lr)
        average = Average(net, config.ema)
        step = 0
        best = float("inf")
        if state is not None:
            self.take_back(net, state["net"])
            self.take_back(average.net, state["average"])
            optimizer.load_state_dict(state["optimizer"])
            step, best = int(state["step"]), float(state["best"])
            self.log.rewind(phase.name, step)
        validated = step

        def save() -> None:
            nets = {"net": self.kept_state(net), "average": self.kept_state(average.net)}
            parts = {**nets, "optimizer": optimizer.state_dict()}
            save_state_file(self.out / STATE_FILE, {"phase": phase.name, "step": step, "best": best, **parts})

        def check() -> float:
            average.net.eval()
            if phase.validate is None:
                phase.keep(average.net)
                return best
            with torch.no_grad():
                found = phase.validate(average.net)
            kept = config.keep == "last" or found["val_mse"] < best
            self.log.validated(phase.name, step, found, kept)
            if kept:
                phase.keep(average.net)
            return min(best, found["val_mse"])

        net.train()
        with ThreadPoolExecutor(1) as ahead, self.log.bar(phase.name, step, phase.steps):
            # Drawn one step ahead; a batch is a pure function of its step, so stopping loses nothing.
            upcoming = ahead.submit(phase.batch, step)
            try:
                while step < phase.steps and time.monotonic() - self.started < limit:
                    batch = upcoming.result()
                    upcoming = ahead.submit(phase.batch, step + 1)
                    rate = learning_rate(config, phase.lr, step, phase.steps)
                    value = self._step(phase, batch, optimizer, rate)
                    step += 1
                    average.update(net, step)
                    self.log.step(phase.name, step, value, rate, len(batch.images), every=config.log_every)
                    if step % config.val_every == 0:
                        best, validated = check(), step
                    if step % config.save_every == 0:
                        save()
            except KeyboardInterrupt:
                save()
                self.log.say(f"stopped at step {step}; --resume goes on from here")
                raise
        if validated != step or phase.validate is None or not (self.out / phase.file).is_file():
            best = check()
        save()
        return step >= phase.steps

    def _step(self, phase: Phase[N], batch: Batch, optimizer: torch.optim.Optimizer, rate: float) -> Tensor:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        optimizer.zero_grad(set_to_none=True)
        value = phase.loss(phase.net, batch)
        value.backward()  # type: ignore[no-untyped-call]
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(phase.net.parameters(), self.config.clip_norm)
        optimizer.step()
        return value.detach()
