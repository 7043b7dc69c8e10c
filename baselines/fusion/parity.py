"""Parity of the fusion with the published forward pass: same closed-form weights and inputs, same outputs.

The golden files were computed with CLIP and DPT replaced by closed forms, which stand here too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from baselines.fusion.config import Expert, FusionConfig
from baselines.fusion.network import FusionNet, Priors
from baselines.pifu.golden import Case, Cases, ParityLine, compared
from baselines.pifu.network import blank
from baselines.pifu.weight_rules import halton, wave_image

TOLERANCES = Path(__file__).with_name("tolerances.json")
AS_CODED = FusionConfig(protocol="as-coded")


def clip_wave(offset: float, count: int = 768) -> NDArray[np.float32]:
    """Return the (count,) embedding that stands for CLIP's, of the first picture of a batch."""
    return np.asarray(np.sin(0.05 * np.arange(1, count + 1) + offset), np.float32)


def normal_wave(offset: float, size: int = 256) -> NDArray[np.float32]:
    """Return the (3, size, size) map that stands for DPT's normals."""
    axis, channel = np.arange(size, dtype=np.float64), np.arange(1, 4)[:, None, None]
    wave = np.cos(0.02 * channel * axis[None, None, :] + offset) * np.sin(0.03 * axis)[None, :, None]
    return np.asarray(wave, np.float32)


def _input_arrays(case: Case) -> dict[str, NDArray[Any]]:
    return {"normal": normal_wave(case.offset)[None, :, ::8, ::8], "clip_embedding": clip_wave(case.offset)}


def _arrays(case: Case, config: FusionConfig) -> dict[str, NDArray[Any]]:
    net = case.filled(blank(FusionNet, config))
    image, points = case.tensor(wave_image()), case.tensor(halton(4096, 0.9))
    calib = case.tensor(np.diag([1.0, -1.0, 1.0, 1.0]))
    priors = Priors(case.tensor(clip_wave(case.offset)), case.tensor(normal_wave(case.offset)))
    with torch.no_grad():
        encoded = net.filter(image, priors)
        found = [p[0, 0].numpy() for p in net.query(encoded, points, calib, every_stack=True)]
        last = net.query(encoded, points, calib)[-1][0, 0].numpy()
    # Asked for one stack, the published filter gives the last, and tf_concat appends its map to that.
    appended = 1 if config.variant == "concat" else 0
    evaluated = found[-1 - appended :]
    out = {f"pred_train_map{i}": p for i, p in enumerate(found)}
    out |= {f"pred_eval_map{i}": p for i, p in enumerate(evaluated)}
    out |= {
        "pred_eval": last,
        "n_maps_train": np.array(len(found)),
        "n_maps": np.array(len(evaluated)),
        "channels": np.array(encoded.maps[-1].shape[1]),
    }
    if config.variant == "concat":
        out["clip_map"] = encoded.maps[-1][0, :16, ::16, ::16].numpy()
    if config.variant == "experts":
        out["experts_map"] = encoded.maps[-1][0, 256, ::4, ::4].numpy()
    return out


def _experts(*experts: Expert) -> Callable[[Case], dict[str, NDArray[Any]]]:
    return lambda case: _arrays(case, replace(AS_CODED, experts=experts))


CASES: Cases = {
    "seed_add": lambda case: _arrays(case, replace(AS_CODED, variant="add")),
    "seed_tfconcat": lambda case: _arrays(case, replace(AS_CODED, variant="concat")),
    "seed_prismer_img_dpt_clip": _experts("image", "clip", "normals"),
    "seed_prismer_img_clip": _experts("image", "clip"),
    "seed_prismer_clip": _experts("clip"),
    "seed_inputs": _input_arrays,
}


def parity(golden: Path) -> list[ParityLine]:
    """Compare the implementation with a golden file; see `baselines.pifu.golden.compared`."""
    return compared(golden, CASES, TOLERANCES, "PIFu with 2D priors")
