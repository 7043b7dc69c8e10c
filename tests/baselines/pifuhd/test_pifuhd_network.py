"""Both levels as functions, and taken apart along rays."""

import hashlib
from dataclasses import replace

import numpy as np
import pifuhd_files as files
import pytest
import torch

from baselines.pifu.network import count_parameters
from baselines.pifu.reconstruct import dense, first_cells, refine, surface
from baselines.pifuhd.classifier import MergedClassifier
from baselines.pifuhd.config import OFFICIAL, PifuHDConfig
from baselines.pifuhd.network import PifuHDNet, finite_normals
from baselines.pifuhd.parity import TINY
from baselines.pifuhd.rays import TwoLevelRays
from robench.errors import UsageError

CALIB = torch.diag(torch.tensor([1.0, -1.0, 1.0, 1.0]))[None]
VARIANTS = [{}, {"skips": (), "fine_skips": ()}, {"merge_layer": 0}, {"skips": (1, 4), "fine_skips": (3,)}]


def pictures(count=1, size=TINY.fine_size):
    """Smooth pictures in [-1, 1], at both sizes."""
    axis = torch.linspace(-1, 1, size)
    y, x = axis[:, None].expand(size, size), axis[None].expand(size, size)
    fine = torch.stack([torch.stack([torch.sin((3 + i) * x), torch.cos(2 * y + i), x * y]) for i in range(count)])
    return fine[..., ::2, ::2].contiguous(), fine


def test_the_published_network_has_the_published_tensors():
    with torch.device("meta"):
        net = PifuHDNet(OFFICIAL)
    assert count_parameters(net) == 387_049_625
    shapes = {key: list(value.shape) for key, value in net.state_dict().items()}
    assert len(shapes) == 764
    # Of the names and shapes that the original's own classes have.
    lines = "\n".join(f"{key} {shapes[key]}" for key in sorted(shapes))
    assert (
        hashlib.sha256(lines.encode()).hexdigest() == "ce5d5cd2424fad93dbd3bcc27c2f399bef48a9c9cca19a84bed14aa02e09aeb9"
    )
    parts = {"normals": net.netG.netF, "coarse encoder": net.netG.image_filter, "coarse MLP": net.netG.mlp}
    counts = {name: count_parameters(part) for name, part in parts.items()}
    assert counts == {"normals": 182_443_267, "coarse encoder": 14_439_680, "coarse MLP": 1_052_290}
    assert (count_parameters(net.image_filter), count_parameters(net.mlp)) == (6_262_544, 408_577)


def test_the_coarse_level_ends_at_a_cube_and_the_fine_one_at_the_picture():
    net = files.lively()
    with torch.inference_mode():
        encoded = net.filter(*pictures())
        inside = torch.tensor([[0.2, -0.3, 0.4]]).T[None]
        for axis, coarse, fine in ((0, 0, 0), (1, 0, 0), (2, 0, 1)):
            beyond = inside.clone()
            beyond[0, axis] = 1.01
            assert bool(net.netG.query(encoded.coarse[-1], beyond, CALIB) != 0) == bool(coarse)
            assert bool(net.query(encoded, beyond, CALIB) != 0) == bool(fine)
        # The picture's y points down: an upper point sees the upper row.
        for sign in (1.0, -1.0):
            row = encoded.fine[-1][..., 0 if sign > 0 else -1, :].clone()
            at = torch.tensor([[-1.0], [sign], [0.0]])[None]
            expected = net.query(replace(encoded, fine=[row[..., None, :].expand(-1, -1, 2, -1)]), at, CALIB)
            torch.testing.assert_close(net.query(encoded, at, CALIB), expected, rtol=0, atol=1e-6)


def test_normals_carry_no_gradient_and_depend_on_their_own_network():
    net = files.lively()
    coarse, fine = pictures()
    encoded = net.filter(coarse, fine)
    assert not encoded.front.requires_grad
    assert not encoded.back.requires_grad
    assert encoded.fine[-1].requires_grad
    assert (encoded.front - encoded.back).abs().max() > 0.1
    assert encoded.front.abs().max() < 1


def test_normals_of_a_field_point_outwards():
    points = torch.randn(1, 3, 50, generator=torch.Generator().manual_seed(0)) * 0.3

    def ball(p):
        return torch.sigmoid((0.25 - (p**2).sum(dim=1, keepdim=True)) * 4)

    found = finite_normals(ball, points.double(), 1e-5)
    expected = torch.nn.functional.normalize(points.double(), dim=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    flat = finite_normals(lambda p: p[:, :1] * 0 + 1, points, 1e-3)
    assert torch.equal(flat, torch.zeros_like(points))


def test_a_classifier_lets_its_merge_layer_out():
    torch.manual_seed(0)
    net = MergedClassifier((5, 8, 6, 4, 1), (2,), merge_layer=1)
    x = torch.randn(2, 5, 7)
    answer, hidden = net(x)
    assert (answer.shape, hidden.shape) == ((2, 1, 7), (2, 6, 7))
    assert torch.equal(hidden, net.hidden(x))
    # By hand: a skip joins the input after the hidden values.
    (w0, b0), (w1, b1), (w2, b2), (w3, b3) = net.weights()
    first = torch.nn.functional.leaky_relu(
        w1 @ torch.nn.functional.leaky_relu(w0 @ x + b0[:, None], 0.01) + b1[:, None], 0.01
    )
    torch.testing.assert_close(hidden, first)
    second = torch.nn.functional.leaky_relu(w2 @ torch.cat([first, x], dim=1) + b2[:, None], 0.01)
    torch.testing.assert_close(answer, torch.sigmoid(w3 @ second + b3[:, None]))


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@torch.inference_mode()
def test_rays_give_the_networks_own_occupancies(options):
    net = files.lively(replace(files.SMALL, **options))
    encoded = net.filter(*pictures(2))
    nodes = 17
    keys = torch.randperm(2 * nodes**3, generator=torch.Generator().manual_seed(1))[:3000].sort().values
    rest = keys % nodes**3
    points = torch.stack([rest // nodes**2, rest // nodes % nodes, rest % nodes]).float() * (2 / 16) - 1
    every = net.query(encoded, points[None].expand(2, -1, -1), CALIB.expand(2, -1, -1))[:, 0]
    truth = every[keys // nodes**3, torch.arange(len(keys))]
    assert truth.std() > 0.05
    found = TwoLevelRays(net).lattice(encoded, 16)(keys)
    np.testing.assert_allclose(found, truth, rtol=0, atol=2e-5)
    assert torch.equal(found, TwoLevelRays(net).lattice(encoded, 16)(keys))
    low = TwoLevelRays(net, "bfloat16").lattice(encoded, 16)(keys)
    assert 0 < (low - truth).abs().mean() < 0.02


@torch.inference_mode()
def test_the_surface_is_the_dense_grids():
    config = replace(files.SMALL, mlp=(8, 8, 8, 4, 1), fine_mlp=(8, 8, 8, 1))
    net = files.slab(config)
    resolution = 128
    field = TwoLevelRays(net).lattice(net.filter(*pictures()), resolution)
    cells = first_cells(resolution)
    coarse_to_fine = refine(field, resolution, torch.ones(1, cells, cells, dtype=torch.bool))[0]
    full = dense(field, resolution)
    assert coarse_to_fine.evaluated < 0.4 * full.evaluated
    assert 0.1 < (full.values > 0.5).float().mean() < 0.9
    (vertices, faces), (expected, expected_faces) = surface(coarse_to_fine), surface(full)
    np.testing.assert_array_equal(faces, expected_faces)
    np.testing.assert_allclose(vertices, expected, rtol=0, atol=1e-6)


def test_options_that_cannot_be_are_refused():
    for options, message in (
        ({"skips": (5,)}, "'skips' names no layer"),
        ({"merge_layer": 4}, "names no hidden layer"),
        ({"z_size": -1.0}, "'z_size' must be positive"),
        ({"z_size": float("inf")}, "'z_size' must be positive and finite"),
        ({"normal_width": 4096}, "at most 1024"),
        ({"coarse_size": 528, "normal_downs": 5}, "'coarse_size' does not suit"),
        ({"fine_size": 1000}, "fine level cannot .* a multiple of 32"),
        ({"fine_mlp": (8, 2), "fine_skips": ()}, "fine level cannot .* must end in one occupancy"),
        ({"depth": 3}, "PIFuHD has no such option"),
        ({"mlp": "512"}, "PIFuHD's option 'mlp' has the wrong type"),
    ):
        with pytest.raises(UsageError, match=message):
            PifuHDConfig.from_mapping(options)


def test_the_depth_scale_is_half_the_load_size_over_the_depth():
    from baselines.pifu.network import depth_scale

    assert depth_scale(OFFICIAL.coarse) == pytest.approx(1.28)
    assert depth_scale(replace(OFFICIAL, load_size=1024).coarse) == pytest.approx(2.56)
    assert depth_scale(replace(OFFICIAL, load_size=513, z_size=100.0).coarse) == pytest.approx(2.56)
