"""Parity with the original code by golden values: same closed-form weights and inputs, same outputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.pifu import golden as files
from baselines.pifu.golden import Case, Cases, ParityLine
from baselines.pifu.network import blank
from baselines.pifu.parity_geometry import octree_arrays, recon_arrays
from baselines.pifu.weight_rules import halton, wave_image
from baselines.pifuhd.classifier import MergedClassifier, MlpNorm
from baselines.pifuhd.config import OFFICIAL, PifuHDConfig
from baselines.pifuhd.network import Encoded, PifuHDNet, finite_normals
from baselines.pifuhd.octree import octree_grid

Arrays = dict[str, NDArray[Any]]
TOLERANCES = Path(__file__).with_name("tolerances.json")
TINY = replace(
    OFFICIAL,
    coarse_size=64,
    fine_size=128,
    num_stack=2,
    hourglass_dim=32,
    mlp=(64, 48, 32, 16, 1),
    fine_depth=2,
    fine_dim=8,
    fine_mlp=(32, 16, 8, 1),
    normal_width=8,
    normal_downs=2,
    normal_blocks=2,
)
_FEW = 512


def _numpy(x: Tensor) -> NDArray[Any]:
    return x.detach().numpy()


def _mean_and_std(x: Tensor) -> NDArray[Any]:
    return np.array([float(x.mean()), float(x.std())])


def _network_arrays(case: Case, config: PifuHDConfig, every: int, count: int) -> Arrays:
    """Return the arrays of both levels.

    Args:
        case: Rule and number format.
        config: Options of the network.
        every: Pixels of the wave picture that make one of the network's.
        count: Points.
    """
    net = case.filled(blank(PifuHDNet, config))
    small, large = wave_image(512)[:, ::every, ::every], wave_image(1024)[:, ::every, ::every]
    points, outside, calib = halton(count, 0.9), halton(512, 1.3), np.diag([1.0, -1.0, 1.0, 1.0])
    with torch.no_grad():
        encoded = net.filter(case.tensor(small.copy()), case.tensor(large.copy()))
        found = _answers(case, net, encoded, points, outside, calib)
    # Full-size maps are stored thinned out.
    thin, thinner = (8, 16) if every == 1 else (1, 2)
    found["normal_front"] = _numpy(encoded.front[0, :, ::thin, ::thin])
    found["normal_back"] = _numpy(encoded.back[0, :, ::thin, ::thin])
    found["normal_front_mean_std"] = _mean_and_std(encoded.front)
    found["normal_back_mean_std"] = _mean_and_std(encoded.back)
    found["coarse_feat_last"] = _numpy(encoded.coarse[-1][0, :32, ::thin, ::thin])
    found["fine_feat_last"] = _numpy(encoded.fine[-1][0, :32, ::thinner, ::thinner])
    inputs = {"img": small[None], "img_big": large[None], "points": points, "points_outside": outside, "calib": calib}
    return found | inputs


def _answers(
    case: Case,
    net: PifuHDNet,
    encoded: Encoded,
    points: NDArray[np.float32],
    outside: NDArray[np.float32],
    calib: NDArray[np.float64],
) -> Arrays:
    coarse, last = net.netG, encoded.coarse[-1]
    p, beyond, c = case.tensor(points), case.tensor(outside), case.tensor(calib)
    few = p[..., :_FEW]

    def fine(at: Tensor) -> Tensor:
        return net.query(encoded, at, c)

    out = {f"coarse_pred_stack{i}": coarse.query(maps, p, c)[0, 0] for i, maps in enumerate(encoded.coarse)}
    out["coarse_pred_eval"] = coarse.query(last, p, c)[0, 0]
    out["coarse_pred_outside"] = coarse.query(last, beyond, c)[0, 0]
    out["phi"] = coarse.mlp(coarse.features(last, p, c)[0])[1][0, :16, ::8]
    out["fine_pred_eval"], out["fine_pred_outside"] = fine(p)[0, 0], fine(beyond)[0, 0]
    out["fine_nml_delta1e-3"] = finite_normals(fine, few, 1e-3)[0]
    out["fine_nml_delta5e-2"] = finite_normals(fine, few, 5e-2)[0]
    out["coarse_nml_delta1e-2"] = finite_normals(lambda at: coarse.query(last, at, c), few, 1e-2)[0]
    return {name: _numpy(value) for name, value in out.items()}


def _tiny_arrays(case: Case) -> Arrays:
    found = _network_arrays(case, TINY, every=8, count=1024)
    given = np.cos(0.3 * np.arange(9 * 50)).astype(np.float32).reshape(1, 9, 50)
    found["mlp_in"] = given
    norms: tuple[MlpNorm, ...] = ("none", "group", "batch")
    for norm in norms:
        net = case.filled(MergedClassifier((9, 64, 32, 32, 1), (1, 2), norm=norm))
        with torch.no_grad():
            answer, hidden = net(case.tensor(given[0]))
        found[f"mlp_{norm}_out"], found[f"mlp_{norm}_phi"] = _numpy(answer), _numpy(hidden)
    return found


CASES: Cases = {
    "pifuhd": lambda case: _network_arrays(case, OFFICIAL, every=1, count=4096),
    "pifuhd_tiny": _tiny_arrays,
    "octree_pifuhd": lambda case: octree_arrays(case.offset, octree_grid),
    "recon_pifuhd": lambda case: recon_arrays(case.offset, octree_grid, flipped=True),
}


def parity(golden: Path) -> list[ParityLine]:
    """Compare PIFuHD with a golden file; see `baselines.pifu.golden.compared`."""
    return files.compared(golden, CASES, TOLERANCES, "PIFuHD")
