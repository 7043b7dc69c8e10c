"""A tiny fusion, its base and its subjects, for the tests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from baselines.fusion.config import FusionConfig
from baselines.fusion.train_config import FusionTrainConfig
from baselines.pifu.checkpoint import save_weights
from baselines.pifu.network import ShapeNet, init_weights
from robench.contracts import Sample

sys.path.insert(0, str(Path(__file__).parents[1] / "pifu"))
import pifu_scenes

PIFU: dict[str, Any] = {
    "preset": "mini",
    "image_size": 32,
    "width": 8,
    "num_stack": 2,
    "hourglass_depth": 2,
    "hourglass_dim": 8,
    "mlp": [16, 1],
    "colour_width": 8,
    "colour_blocks": 1,
    "colour_mlp": [8, 3],
}
FUSION: dict[str, Any] = {
    "pifu": PIFU,
    "clip": "tiny-random",
    "normals": "tiny-random-normals",
    "patch": 8,
    "normal_size": 32,
    "width": 16,
    "heads": 2,
    "latents": 8,
}
TRAINING: dict[str, Any] = {
    "steps": 12,
    "batch": 2,
    "points": 100,
    "pool": 2000,
    "warmup": 2,
    "log_every": 2,
    "val_every": 6,
    "val_points": 200,
    "save_every": 4,
    "precision": "float32",
    "draws": 2,
}


def config(**options: Any) -> FusionConfig:
    """Return the tiny fusion with other options."""
    return FusionConfig.from_mapping({**FUSION, **options})


def base(path: Path, seed: int = 0, **options: Any) -> Path:
    """Write a PIFu with random weights whose image filter fits the tiny fusion; return its path."""
    net = ShapeNet(FusionConfig.from_mapping({"pifu": {**PIFU, **options}}).pifu)
    init_weights(net, torch.Generator().manual_seed(seed))
    save_weights(path, net, None, {})
    return path


def training(path: Path, fusion: dict[str, Any] | None = None, **options: Any) -> FusionTrainConfig:
    """Return options of a tiny training from a base."""
    values = {**TRAINING, "fusion": {**FUSION, **(fusion or {})}, "base": str(path), **options}
    return FusionTrainConfig.from_mapping(values)


def people(root: Path, count: int = 3) -> list[Sample]:
    """Return analytic subjects."""
    return pifu_scenes.samples(root, count, 64)
