"""Structure and laws of the networks."""

from dataclasses import replace

import pytest
import torch

from baselines.pifu.colour import ColourNet
from baselines.pifu.config import MINI, OFFICIAL, PRESETS, PifuConfig
from baselines.pifu.filters import ConvBlock, HGFilter, Hourglass, make_norm
from baselines.pifu.network import ShapeNet, count_parameters, index, init_weights, stack_loss
from baselines.pifu.parity import TINY
from robench.errors import UsageError


def on_meta(kind, config):
    with torch.device("meta"):
        return kind(config)


@pytest.mark.parametrize(
    ("kind", "options", "keys", "parameters"),
    [
        (ShapeNet, {}, 441, 15_604_738),
        (ShapeNet, {"norm": "batch"}, 882, 15_604_738),
        (ShapeNet, {"norm": "batch", "down": "conv64"}, 878, 15_631_138),
        (ShapeNet, {"down": "conv128"}, 443, 15_752_322),
        (ColourNet, {}, 53, 9_139_398),
        (ColourNet, {"colour_norm": "instance"}, 40, 9_136_390),
    ],
)
def test_official_sizes(kind, options, keys, parameters):
    net = on_meta(kind, replace(OFFICIAL, **options))
    assert len(net.state_dict()) == keys
    assert count_parameters(net) == parameters


def test_official_names_and_shapes():
    shapes = {k: tuple(v.shape) for k, v in on_meta(ShapeNet, OFFICIAL).state_dict().items()}
    assert list(shapes)[:2] == ["image_filter.conv1.weight", "image_filter.conv1.bias"]
    assert shapes["image_filter.conv4.downsample.0.weight"] == (128,)
    assert shapes["image_filter.conv4.bn4.weight"] == (128,)
    assert shapes["image_filter.m3.b2_plus_1.conv1.weight"] == (128, 256, 3, 3)
    assert shapes["surface_classifier.conv0.weight"] == (1024, 257, 1)
    assert shapes["surface_classifier.conv4.weight"] == (1, 385, 1)
    colour = {k: tuple(v.shape) for k, v in on_meta(ColourNet, OFFICIAL).state_dict().items()}
    assert colour["surface_classifier.conv0.weight"] == (1024, 513, 1)
    assert "image_filter.model.15.conv_block.6.weight" not in colour


def test_conv_block_and_filter_parts_have_published_sizes():
    assert count_parameters(ConvBlock(64, 128, "group")) == 73_152
    assert count_parameters(ConvBlock(128, 256, "group")) == 291_712
    assert count_parameters(Hourglass(2, 256, "group")) == 2_848_384
    assert count_parameters(on_meta(HGFilter, OFFICIAL)) == 14_420_864


def test_group_norm_has_32_groups_or_fewer_for_small_widths():
    assert make_norm("group", 256).num_groups == 32
    assert make_norm("group", 24).num_groups == 8
    assert make_norm("group", 16).num_groups == 16


def test_config_round_trip_and_presets():
    for config in PRESETS.values():
        assert PifuConfig.from_json(config.to_json()) == config
    assert MINI.mlp_dim == (129, 256, 192, 128, 64, 1)
    assert OFFICIAL.colour_mlp_dim == (513, 1024, 512, 256, 128, 3)
    assert replace(OFFICIAL, skip_hourglass=True).mlp_dim[0] == 321


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"nrom": "group"}, "no such option"),
        ({"norm": "layer"}, "no such value"),
        ({"num_stack": 0}, "positive"),
        ({"width": 33}, "even"),
        ({"image_size": 500}, "hourglass depth"),
        ({"num_stack": "4"}, "wrong type"),
        ({"mlp": [8, 2]}, "one occupancy"),
    ],
)
def test_impossible_configs_are_refused(values, match):
    with pytest.raises(UsageError, match=match):
        PifuConfig.from_mapping(values)


def test_index_puts_minus_one_at_the_first_cell_centre():
    cells = torch.arange(12.0).reshape(1, 1, 3, 4)
    uv = torch.tensor([[[-1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]]])
    torch.testing.assert_close(index(cells, uv)[0, 0], torch.tensor([0.0, 11.0, 5.5]))


@pytest.fixture(scope="module")
def tiny():
    net = ShapeNet(TINY)
    init = torch.Generator().manual_seed(0)
    init_weights(net, init)
    return net.eval()


def test_outside_the_picture_there_is_nothing_and_depth_is_not_tested(tiny):
    points = torch.tensor([[1.001, 0.0, 0.0, 0.5], [0.0, -1.001, 0.0, 0.5], [0.0, 0.0, 3.0, 0.5]])[None]
    found = tiny(torch.randn(1, 3, 64, 64), points, torch.eye(4)[None])[0, 0]
    assert found[:2].tolist() == [0.0, 0.0]
    assert (found[2:] > 0).all()


def test_a_batch_does_not_mix_its_images(tiny):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(3, 3, 64, 64, generator=generator)
    points = torch.rand(3, 3, 50, generator=generator) * 2 - 1
    calib = torch.eye(4).expand(3, 4, 4)
    together = tiny(images, points, calib)
    alone = torch.cat([tiny(images[i : i + 1], points[i : i + 1], calib[:1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


def test_two_equal_views_answer_like_one():
    one, two = ShapeNet(TINY).eval(), ShapeNet(replace(TINY, num_views=2)).eval()
    two.load_state_dict(one.state_dict())
    image, points, calib = torch.randn(1, 3, 64, 64), torch.rand(1, 3, 40) * 2 - 1, torch.eye(4)[None]
    expected = one(image, points, calib)
    found = two(image.expand(2, -1, -1, -1), points.expand(2, -1, -1), calib.expand(2, -1, -1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_point_must_lie_in_both_views():
    net = ShapeNet(replace(TINY, num_views=2)).eval()
    shifted = torch.eye(4)
    shifted[0, 3] = 0.5
    points = torch.tensor([[0.7], [0.0], [0.0]]).expand(2, 3, 1)
    found = net(torch.randn(2, 3, 64, 64), points, torch.stack([torch.eye(4), shifted]))
    assert found.shape == (1, 1, 1)
    assert found.item() == 0.0


def test_stack_loss_is_the_mean_over_stacks():
    labels = torch.zeros(1, 1, 4)
    loss = stack_loss([torch.full((1, 1, 4), 0.5), torch.full((1, 1, 4), 1.0)], labels)
    assert loss.item() == pytest.approx((0.25 + 1.0) / 2)


def test_colours_are_not_masked_outside_the_picture():
    net = ColourNet(replace(TINY, colour_width=8, colour_blocks=1, colour_mlp=(16, 3))).eval()
    image = torch.randn(1, 3, 64, 64)
    far = torch.tensor([[5.0], [0.0], [0.2]])[None]
    found = net.query(torch.randn(1, 32, 16, 16), net.filter(image), far, torch.eye(4)[None])
    assert (found.abs() > 0).all()
