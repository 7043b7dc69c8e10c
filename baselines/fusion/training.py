"""Training of a fusion by PIFu's trainer: frozen parts stay frozen and unstored, what they say is computed once."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from baselines.fusion.checkpoint import (
    FILTER,
    load_filter,
    restore,
    save_fusion,
    stored,
    write_places,
)
from baselines.fusion.config import MODEL_NAMES, Variant
from baselines.fusion.items import PriorCache, fusion_batch, picture_key
from baselines.fusion.network import FusionNet
from baselines.fusion.priors import Part, PriorEncoders, redraw
from baselines.fusion.train_config import FusionTrainConfig
from baselines.pifu.adapter import MINI_WEIGHTS
from baselines.pifu.checkpoint import read_own
from baselines.pifu.colour import ColourNet
from baselines.pifu.device import resolve_device
from baselines.pifu.items import Batch, Item, opened, validation_batch
from baselines.pifu.network import Encoded, ShapeNet, blank, init_weights
from baselines.pifu.train_config import SHIPPED, read_train_config
from baselines.pifu.training import SHAPE_FILE, Run, fit
from robench import rng as seeds
from robench.errors import UsageError
from robench.io.weights import find_weights

_CACHE = "priors"
# Pictures at once; on a CPU one by one, so that a prior does not depend on which others were missing.
_TOGETHER = {"cpu": 1, "cuda": 32}


def train(
    variant: Variant,
    config_path: Path,
    data: Path,
    out: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    max_minutes: float | None = None,
) -> Path:
    """Train a fusion on a data set; arguments, results and errors as of `baselines.pifu.training.train`.

    Args:
        variant: Which one the options must be of.
        config_path: YAML options, see `FusionTrainConfig`.
        data: Root of a data set.
        out: Run folder; also keeps the priors of pictures, and writes where frozen networks lie (``priors.json``).
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
        resume: Go on with the run in `out`.
        max_minutes: Stop after so long, with weights written.

    Raises:
        EnvironmentNotReady: If frozen networks or the device are not there.
        UsageError: If options, weights, data or the run folder do not fit.
    """
    config = read_train_config(config_path, FusionTrainConfig)
    if config.fusion.variant != variant:
        right = MODEL_NAMES[config.fusion.variant]
        raise UsageError(
            f"{config_path} are options of another model", got=right, expected=MODEL_NAMES[variant],
            hint=f"robench train {right}",
        )  # fmt: skip
    # What is missing is told before hours of points and pictures, not after.
    places = places_of(config)
    if config.base:
        load_filter(blank(FusionNet, config.fusion), places.get(FILTER, MINI_WEIGHTS))
    encoders = PriorEncoders(config.fusion, resolve_device(device), places)
    training, validation, facts = opened(data)
    limits: dict[str, Any] = {"device": device, "resume": resume, "max_minutes": max_minutes}
    kind = functools.partial(FusionRun, encoders=encoders)
    return fit(config, training, validation, out, facts, kind=kind, **limits)


def places_of(config: FusionTrainConfig) -> dict[str, Path]:
    """Return where the frozen networks lie that the options name; the image filter also where robench looks.

    Raises:
        EnvironmentNotReady: If the base is nowhere.
    """
    given = {"clip": config.clip_weights, "normals": config.normals_weights}
    places = {name: Path(place) for name, place in given.items() if place}
    if config.base and config.base != SHIPPED:
        base = Path(config.base)
        places[FILTER] = base if base.exists() else find_weights(base.name, None, ())
    return places


class FusionRun(Run):
    """One training run of a fusion; see `Run`."""

    config: FusionTrainConfig

    def __init__(self, *arguments: Any, encoders: PriorEncoders | None = None) -> None:
        super().__init__(*arguments)
        self.places = places_of(self.config)
        self.encoders = encoders or PriorEncoders(self.config.fusion, self.device, self.places)
        self.parts: dict[str, Part] = dict(self.encoders.parts)
        self.cache = PriorCache(self.out / _CACHE / self._cache_name(), self._looked, _TOGETHER[self.device.type])

    def _cache_name(self) -> str:
        """Return a name for all that priors depend on besides the picture."""
        fusion = self.config.fusion
        facts = {
            "parts": {name: part.sha256 for name, part in self.parts.items()},
            "fusion": [fusion.protocol, fusion.normal_size, fusion.prior_seed],
            "bfloat16": self.amp,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def _looked(self, images: Tensor) -> Any:
        with self.autocast():
            return self.encoders(images)

    def fresh_shape(self) -> FusionNet:
        """See `Run.fresh_shape`: fresh but for the image filter of the base."""
        config = self.config
        seed = int(seeds.generator(config.seed, "FusionNet", "init").integers(2**62))
        # torch's own initialisation draws from the global generator; the fork leaves that as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = FusionNet(config.fusion)
        if config.init == "published":
            draws = torch.Generator().manual_seed(seed)
            redraw(net, draws)
            init_weights(net, draws)
        if config.base:
            found = load_filter(net, self.places.get(FILTER, MINI_WEIGHTS))
            if config.fusion.freeze_filter:
                self.parts[FILTER] = found
        return net.to(self.device)

    def batch(self, step: int) -> Batch:
        """See `Run.batch`."""
        return fusion_batch(self.items, self.config, step, self.shown)

    def check_batch(self, item: Item) -> Batch:
        """See `Run.check_batch`."""
        batch = validation_batch(item, self.config.val_points, self.config.seed)
        return replace(batch, keys=(picture_key(batch.images[0]),))

    def encode(self, net: ShapeNet, batch: Batch) -> Encoded:
        """See `Run.encode`."""
        images = self.put(batch.images)
        return cast(FusionNet, net).filter(images, self.cache(images, batch.keys))

    def kept_state(self, net: nn.Module) -> dict[str, Tensor]:
        """See `Run.kept_state`: without what is frozen and can be had again."""
        return stored(cast(FusionNet, net))

    def take_back(self, net: nn.Module, state: dict[str, Tensor]) -> None:
        """See `Run.take_back`."""
        restore(cast(FusionNet, net), state, "the state to resume from")

    def keep_shape(self, net: ShapeNet) -> None:
        """See `Run.keep_shape`."""
        save_fusion(self.out / SHAPE_FILE, cast(FusionNet, net), self.parts, {"part": "a run's network"})

    def kept_shape(self) -> FusionNet:
        """See `Run.kept_shape`."""
        net = self.fresh_shape()
        _, tensors = read_own(self.out / SHAPE_FILE)
        restore(net, {key.removeprefix("net_G."): value for key, value in tensors.items()}, SHAPE_FILE)
        return net

    def export(self, path: Path, shape: ShapeNet, colour: ColourNet | None, dtype: torch.dtype) -> None:
        """See `Run.export`."""
        save_fusion(path, cast(FusionNet, shape), self.parts, self.provenance(), dtype)
        write_places(path.parent, self.places)

    def provenance(self) -> dict[str, Any]:
        """See `Run.provenance`: without the paths of this machine."""
        said = super().provenance()
        return {**said, "options": {k: v for k, v in said["options"].items() if k not in self.config.paths}}
