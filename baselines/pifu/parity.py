"""Parity with the original code by golden values: same closed-form weights and inputs, same outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.pifu import golden as files
from baselines.pifu.colour import ColourNet
from baselines.pifu.config import OFFICIAL, Norm, PifuConfig
from baselines.pifu.golden import Case, Cases, ParityLine
from baselines.pifu.network import ShapeNet, blank, index, orthogonal, perspective, stack_loss
from baselines.pifu.parity_geometry import data_arrays, octree_arrays, recon_arrays
from baselines.pifu.weight_rules import cylinder_labels, halton, wave_image

TOLERANCES = Path(__file__).with_name("tolerances.json")
TINY = replace(OFFICIAL, image_size=64, num_stack=2, hourglass_depth=3, hourglass_dim=32, mlp=(64, 32, 16, 8, 1))
_GRADIENT_POINTS = 1024


def _numpy(x: Tensor) -> NDArray[Any]:
    return x.detach().numpy()


def _diagonal(case: Case, x: float = 1.0) -> NDArray[np.float64]:
    return np.diag([x, -1.0, x, 1.0])


def _shape_arrays(case: Case, config: PifuConfig) -> dict[str, NDArray[Any]]:
    net = case.filled(blank(ShapeNet, config))
    points = halton(4096, 0.9)
    outside = halton(512, 1.3)
    labels = case.tensor(cylinder_labels(points))
    calib = case.tensor(_diagonal(case))
    image, p = case.tensor(wave_image()), case.tensor(points)
    out: dict[str, NDArray[Any]] = {"points": points, "points_outside": outside, "calib": _diagonal(case)}
    with torch.no_grad():
        encoded = net.filter(image)
        predictions = net.query(encoded, p, calib, every_stack=True)
        for i, (features, found) in enumerate(zip(encoded.maps, predictions, strict=True)):
            out[f"feat_stack{i}"] = _numpy(features[0, :32, ::8, ::8])
            out[f"pred_stack{i}"] = _numpy(found[0, 0])
        out["normx"] = _numpy(encoded.reduced[0, :16, ::8, ::8])
        out["tmpx"] = _numpy(encoded.stem[0, :16, ::16, ::16])
        out["pred_eval"] = _numpy(net.query(encoded, p, calib)[-1][0, 0])
        out["pred_outside"] = _numpy(net.query(encoded, case.tensor(outside), calib)[-1][0, 0])
        out["loss"] = _numpy(stack_loss(predictions, labels))
    if "grad_names" in case.stored:
        few = slice(0, _GRADIENT_POINTS)
        stack_loss(net.query(net.filter(image), p[..., few], calib, every_stack=True), labels[..., few]).backward()  # type: ignore[no-untyped-call]
        parameters = dict(net.named_parameters(remove_duplicate=False))
        names = [str(n) for n in case.stored["grad_names"]]
        out["grad_norms"] = np.array([float(cast(Tensor, parameters[n].grad).norm()) for n in names])
    if config.norm == "batch":
        net.train()
        with torch.no_grad():
            predictions = net.query(net.filter(image), p, calib, every_stack=True)
        for i, found in enumerate(predictions):
            out[f"pred_trainbn_stack{i}"] = _numpy(found[0, 0])
        out["loss_trainbn"] = _numpy(stack_loss(predictions, labels))
        statistics = cast(nn.BatchNorm2d, net.image_filter.bn1)
        out["bn1_running_mean_after"] = _numpy(cast(Tensor, statistics.running_mean))
        out["bn1_running_var_after"] = _numpy(cast(Tensor, statistics.running_var))
    return out


def _two_view_arrays(case: Case) -> dict[str, NDArray[Any]]:
    net = case.filled(blank(ShapeNet, replace(OFFICIAL, num_views=2)))
    image, mirrored = wave_image(), wave_image()[:, :, ::-1].copy()
    second = np.diag([-1.0, -1.0, -1.0, 1.0])
    images = torch.cat([case.tensor(image), case.tensor(mirrored)])
    calibs = torch.cat([case.tensor(_diagonal(case)), case.tensor(second)])
    points = case.tensor(halton(4096, 0.9)).expand(2, -1, -1)
    with torch.no_grad():
        found = net.query(net.filter(images), points, calibs)[-1]
    return {"pred_eval": _numpy(found[0, 0]), "calib2": second}


def _colour_arrays(case: Case, config: PifuConfig) -> dict[str, NDArray[Any]]:
    shape, net = case.filled(blank(ShapeNet, OFFICIAL)), case.filled(blank(ColourNet, config))
    image, calib, points = case.tensor(wave_image()), case.tensor(_diagonal(case)), halton(4096, 0.9)
    with torch.no_grad():
        features, colours = shape.filter(image).maps[-1], net.filter(image)
        rgb = net.query(features, colours, case.tensor(points), calib)
        outside = net.query(features, colours, case.tensor(halton(512, 1.3)), calib)
        loss = net.loss(rgb, torch.tanh(case.tensor(points)))
    return {
        "featC": _numpy(colours[0, :32, ::8, ::8]),
        "rgb": _numpy(rgb[0]),
        "rgb_outside": _numpy(outside[0]),
        "loss_l1": _numpy(loss),
    }


def _tiny_arrays(case: Case, config: PifuConfig) -> dict[str, NDArray[Any]]:
    net = case.filled(blank(ShapeNet, config))
    image, points = wave_image()[:, ::8, ::8].copy(), halton(256, 0.9)
    with torch.no_grad():
        encoded = net.filter(case.tensor(image))
        predictions = net.query(encoded, case.tensor(points), case.tensor(_diagonal(case)), every_stack=True)
    out: dict[str, NDArray[Any]] = {"img": image[None], "points": points}
    for i, (features, found) in enumerate(zip(encoded.maps, predictions, strict=True)):
        out[f"feat_stack{i}"], out[f"pred_stack{i}"] = _numpy(features[0]), _numpy(found[0, 0])
    return out


def _block_arrays(case: Case) -> dict[str, NDArray[Any]]:
    from baselines.pifu.classifier import SurfaceClassifier
    from baselines.pifu.filters import ConvBlock, Hourglass

    def given(name: str) -> Tensor:
        return torch.from_numpy(case.stored[name]).to(case.dtype)

    x = np.sin(0.11 * np.arange(64 * 12 * 12)).astype(np.float32).reshape(1, 64, 12, 12)
    features = np.cos(0.3 * np.arange(9 * 50)).astype(np.float32).reshape(1, 9, 50)
    tx = torch.from_numpy(x).to(case.dtype)
    points, uv, cal = case.tensor(halton(64, 0.9)), given("index_uv"), given("cal")
    convolutions: tuple[tuple[Norm, int], ...] = (("group", 128), ("group", 256), ("batch", 64), ("batch", 128))
    with torch.no_grad():
        out = {f"convblock_{norm}_{width}": case.filled(ConvBlock(64, width, norm))(tx) for norm, width in convolutions}
        hourglass = case.filled(Hourglass(2, 128, "group"))
        out["hourglass_128_depth2_group"] = hourglass(torch.cat([tx, -tx], dim=1))
        out["mlp_out"] = case.filled(SurfaceClassifier((9, 16, 8, 4, 1)))(torch.from_numpy(features).to(case.dtype))
        out["index_out"] = index(tx[:, :4], uv)
        out["orthogonal_out"], out["perspective_out"] = orthogonal(points, cal), perspective(points, cal)
    inputs = {"x": x, "mlp_in": features, "index_uv": case.stored["index_uv"], "cal": case.stored["cal"]}
    return inputs | {name: _numpy(value) for name, value in out.items()}


def _shape_case(**options: Any) -> Callable[[Case], dict[str, NDArray[Any]]]:
    return lambda case: _shape_arrays(case, replace(OFFICIAL, **options))


def _colour_case(norm: str) -> Callable[[Case], dict[str, NDArray[Any]]]:
    return lambda case: _colour_arrays(case, replace(OFFICIAL, colour_norm=norm))  # type: ignore[arg-type]


CASES: Cases = {
    "pifu_netG_avepool_group": _shape_case(),
    "pifu_netG_avepool_batch": _shape_case(norm="batch"),
    "pifu_netG_conv64_batch": _shape_case(norm="batch", down="conv64"),
    "pifu_netG_conv128_group": _shape_case(down="conv128"),
    "pifu_netG_conv128_batch": _shape_case(norm="batch", down="conv128"),
    "pifu_netG_noresidual": _shape_case(residual=False),
    "pifu_netG_skiphourglass": _shape_case(skip_hourglass=True),
    "pifu_netG_twoview": _two_view_arrays,
    "pifu_netC_group": _colour_case("group"),
    "pifu_netC_instance": _colour_case("instance"),
    "pifu_netC_batch": _colour_case("batch"),
    "pifu_tiny_group": lambda case: _tiny_arrays(case, TINY),
    "pifu_tiny_batch": lambda case: _tiny_arrays(case, replace(TINY, norm="batch")),
    "pifu_tiny_blocks": _block_arrays,
    "octree_pifu": lambda case: octree_arrays(case.offset),
    "recon_pifu": lambda case: recon_arrays(case.offset),
    "data_pifu": lambda case: data_arrays(case.stored),
}


def case_name(golden: Path) -> str:
    """Return the configuration of PIFu that a golden file's name begins with; see `golden.case_name`."""
    return files.case_name(golden, CASES, "PIFu")


def parity(golden: Path) -> list[ParityLine]:
    """Compare PIFu with a golden file; see `golden.compared`."""
    return files.compared(golden, CASES, TOLERANCES, "PIFu")
