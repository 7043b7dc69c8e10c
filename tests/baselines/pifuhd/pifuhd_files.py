"""A small PIFuHD as a file like the authors': tensors, and options in objects of argparse, in torch's older format."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from baselines.pifu.network import blank
from baselines.pifu.weight_rules import fill
from baselines.pifuhd.config import PifuHDConfig
from baselines.pifuhd.network import PifuHDNet
from baselines.pifuhd.parity import TINY

SMALL = replace(TINY, width=8, fine_width=8, load_size=256, z_size=100.0)


def lively(config: PifuHDConfig = SMALL) -> PifuHDNet:
    """A network of closed-form weights, sharpened so that its field crosses the level."""
    net = blank(PifuHDNet, config)
    fill(net, "hash")
    with torch.no_grad():
        net.mlp.filters[-1].weight *= 40
    return net.eval()


def stored_options(config: PifuHDConfig = SMALL) -> dict[str, Namespace]:
    """Options as such a file carries them, with some that nobody needs."""
    whole = Namespace(name="small", hg_down="no_down", gpu_ids=[0], learning_rate=0.001, no_gen_mesh=True, mask=None)
    coarse = Namespace(loadSize=config.load_size, z_size=config.z_size, merge_layer=config.merge_layer, mlp_dim=[1, 2])
    return {"opt": whole, "opt_netG": coarse}


def write(path: Path, config: PifuHDConfig = SMALL, *, legacy: bool = True, **changes: Any) -> Path:
    """Write a checkpoint, and beside it the sizes that no file tells; `changes` replace what it holds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {**stored_options(config), "model_state_dict": lively(config).state_dict(), **changes}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    sizes = {"coarse_size": config.coarse_size, "fine_size": config.fine_size}
    path.with_name("pifuhd.json").write_text(json.dumps(sizes))
    return path


def slab(config: PifuHDConfig = SMALL) -> PifuHDNet:
    """A network whose body is all that is near enough to the picture's plane, by a bound that follows the picture.

    Occupied where |depth feature| < 0.5 + 0.3 * the fine level's first feature (about): the depth has come through
    both classifiers, the feature through the fine level's skips.
    """
    net = lively(config)
    coarse, fine = net.netG.mlp.filters, net.mlp.filters
    with torch.no_grad():
        for conv in (*coarse, *fine):
            conv.weight.zero_()
            conv.bias.zero_()
        depth, first = config.hourglass_dim, config.fine_dim
        for unit, sign in ((0, 1.0), (1, -1.0)):
            coarse[0].weight[unit, depth] = sign
            for conv in coarse[1 : config.merge_layer + 1]:
                conv.weight[unit, unit] = 1.0
            fine[0].weight[0, first + unit] = 1.0
        for conv in fine[1:-1]:
            conv.weight[0, 0] = 1.0
        last = fine[-2]
        last.weight[1, last.in_channels - config.fine_dim - config.mlp[config.merge_layer]] = 0.3  # seen by a skip
        last.bias[1] = 0.5
        fine[-1].weight[0, 0], fine[-1].weight[0, 1] = -60.0, 60.0
    return net
