"""How priors enter the maps, by hand; what is trained; what is refused."""

from __future__ import annotations

from pathlib import Path

import fusion_scenes as scenes
import pytest
import torch
from torch import Tensor

from baselines.fusion.config import FusionConfig
from baselines.fusion.network import FusionNet, Priors
from baselines.fusion.resampler import Patches, Resampler
from baselines.fusion.train_config import FusionTrainConfig
from baselines.pifu.network import ShapeNet
from baselines.pifu.train_config import read_train_config
from robench.errors import UsageError

CONFIGS = Path(__file__).parents[3] / "baselines" / "fusion" / "configs"
SHARED = torch.Generator().manual_seed(1)
IMAGE = torch.rand(2, 3, 32, 32, generator=SHARED) * 2 - 1
PRIORS = Priors(torch.randn(2, 768, generator=SHARED), torch.rand(2, 3, 32, 32, generator=SHARED))


def made(**options: object) -> FusionNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return FusionNet(scenes.config(**options)).eval()


def plain(net: FusionNet) -> list[Tensor]:
    """The maps of the network's own filter, without any prior."""
    with torch.no_grad():
        return ShapeNet.filter(net, IMAGE).maps


def maps(net: FusionNet, priors: Priors = PRIORS) -> list[Tensor]:
    with torch.no_grad():
        return net.filter(IMAGE, priors).maps


@pytest.mark.parametrize("protocol", ["described", "as-coded"])
def test_add_adds_the_mean_of_each_run_of_the_embedding(protocol: str) -> None:
    net = made(variant="add", protocol=protocol)
    assert PRIORS.clip is not None
    found, before = maps(net), plain(net)
    assert len(found) == 2
    for a, b in zip(found, before, strict=True):
        for channel in range(8):
            run = PRIORS.clip[:, channel * 96 : (channel + 1) * 96].mean(dim=1)
            assert torch.allclose(a[:, channel] - b[:, channel], run[:, None, None].expand(2, 8, 8), atol=1e-5)


def test_concat_as_described_puts_the_projection_beside_every_stack() -> None:
    net = made(variant="concat")
    assert PRIORS.clip is not None
    small = net.clip_feature_transform.fc(PRIORS.clip).reshape(2, 8, 8, 8)  # the map has its 8 cells here
    for a, b in zip(maps(net), plain(net), strict=True):
        assert torch.equal(a[:, :8], b)
        assert torch.allclose(a[:, 8:], small, atol=1e-6)
    assert net.surface_classifier.get_submodule("conv0").in_channels == 8 + 8 + 1


def test_concat_as_coded_shows_the_classifier_the_prior_or_the_image() -> None:
    net = made(variant="concat", protocol="as-coded")
    found, before = maps(net), plain(net)
    assert [torch.equal(a, b) for a, b in zip(found[:2], before, strict=True)] == [True, True]
    assert len(found) == 3
    with torch.no_grad():
        other = net.filter(IMAGE.flip(-1), PRIORS).maps
    assert torch.equal(found[-1], other[-1]), "the last map, which inference asks, knows nothing of the image"
    assert net.surface_classifier.get_submodule("conv0").in_channels == 8 + 1


@pytest.mark.parametrize(("protocol", "stacks"), [("described", 2), ("as-coded", 1)])
def test_experts_append_one_channel(protocol: str, stacks: int) -> None:
    net = made(protocol=protocol)
    found, before = maps(net), plain(net)
    assert len(found) == stacks
    assert all(m.shape == (2, 9, 8, 8) for m in found)
    assert torch.equal(found[-1][:, :8], before[-1])
    # 8 latents of width 16 are read as a picture of 8 by 16, which is then squeezed to the map's 8 by 8.
    with torch.no_grad():
        latents = net.experts_map(IMAGE, PRIORS)
    assert latents.shape == (2, 1, 8, 16)
    assert torch.allclose(found[-1][:, 8:], latents.unflatten(3, (8, 2)).mean(dim=4), atol=1e-6)


def test_only_what_an_ablation_names_is_looked_at() -> None:
    net = made(experts=["clip"])
    assert PRIORS.clip is not None
    with torch.no_grad():
        seen = net.experts_map(IMAGE, Priors(PRIORS.clip))
        assert torch.equal(seen, net.experts_map(IMAGE * 0, PRIORS))
        other = net.experts_map(IMAGE, Priors(PRIORS.clip * 2))
    assert not torch.allclose(seen, other)
    assert {name.split(".")[0] for name in net.state_dict()} == {
        "image_filter", "surface_classifier", "expert_fusion", "clip_proj",
    }  # fmt: skip


def test_latents_do_not_care_for_the_order_of_tokens() -> None:
    resampler = Resampler(16, 2, 4, 6)
    tokens = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        found = resampler(tokens)
        turned = resampler(tokens.flip(1))
        alone = resampler(tokens[:1])
    assert found.shape == (2, 6, 16)
    assert torch.allclose(found, turned, atol=1e-5)
    assert torch.allclose(found[:1], alone, atol=1e-5)


def test_patches_are_read_row_by_row() -> None:
    patches = Patches(4, 1)
    torch.nn.init.constant_(patches.proj.weight, 1 / 48)
    torch.nn.init.zeros_(patches.proj.bias)
    values = torch.arange(6.0).reshape(2, 3)
    image = values.repeat_interleave(4, 0).repeat_interleave(4, 1).expand(1, 3, 8, 12)
    with torch.no_grad():
        assert torch.allclose(patches(image)[0, :, 0], torch.arange(6.0), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "trained"),
    [
        ({}, {"surface_classifier", "expert_fusion", "pifu_patchify", "dpt_patchify", "clip_proj"}),
        ({"protocol": "as-coded"}, {"surface_classifier"}),
        ({"variant": "concat"}, {"surface_classifier", "clip_feature_transform"}),
        ({"variant": "concat", "protocol": "as-coded"}, {"surface_classifier"}),
        ({"variant": "add", "freeze_filter": False}, {"surface_classifier", "image_filter"}),
    ],
)
def test_what_is_trained(options: dict[str, object], trained: set[str]) -> None:
    net = made(**options)
    assert {n.split(".")[0] for n, p in net.named_parameters() if p.requires_grad} == trained
    points = torch.zeros(2, 3, 5)
    net.query(net.filter(IMAGE, PRIORS), points, torch.eye(4).expand(2, 4, 4), every_stack=True)[0].sum().backward()
    grown = {n.split(".")[0] for n, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert "surface_classifier" in grown
    assert grown <= trained


def test_a_frozen_filter_keeps_its_statistics() -> None:
    net = made(pifu={**scenes.PIFU, "norm": "batch"}).train()
    before = {k: v.clone() for k, v in net.image_filter.state_dict().items()}
    net.filter(IMAGE, PRIORS)
    assert net.training
    assert all(torch.equal(v, before[k]) for k, v in net.image_filter.state_dict().items())
    free = made(pifu={**scenes.PIFU, "norm": "batch"}, freeze_filter=False).train()
    free.filter(IMAGE, PRIORS)
    assert any(not torch.equal(v, before[k]) for k, v in free.image_filter.state_dict().items())


def test_missing_and_misshapen_priors_are_told() -> None:
    net = made()
    for wrong, said in (
        (None, "'clip' of shape .*was given none"),
        (Priors(torch.zeros(2, 512), PRIORS.normals), r"'clip' of shape \(768,\).*\(512,\)"),
        (Priors(PRIORS.clip, torch.zeros(2, 3, 64, 64)), r"'normals'.*\(3, 64, 64\)"),
    ):
        with pytest.raises(ValueError, match=said):
            net.filter(IMAGE, wrong)


# Options.


def test_options_survive_json() -> None:
    config = scenes.config(experts=["clip"], protocol="as-coded", prior_seed=7)
    assert FusionConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"variant": "sum"}, "'variant' is not possible; got 'sum'; expected one of add, concat, experts"),
        ({"protocol": "coded"}, "'protocol' is not possible"),
        ({"experts": []}, "'experts' is not possible"),
        ({"experts": ["normals", "clip"]}, "in this order"),
        ({"experts": "clip"}, "a list of names"),
        ({"heads": 3}, "a divisor of the width 128"),
        ({"patch": 24}, "'pifu.image_size' is not possible"),
        ({"variant": "add", "clip_dim": 700}, "a multiple of the 256 channels"),
        ({"latents": 10**6}, "from 1 to 1024"),
        ({"latents": "many"}, "like 128"),
        ({"depth": 3}, "no such option; got 'depth'"),
        ({"pifu": {"preset": "huge"}}, "pifu.preset"),
        ({"pifu": {"num_views": 3}}, "pifu.num_views"),
        ([], "no mapping"),
    ],
)
def test_impossible_options_are_refused(values: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        FusionConfig.from_mapping(values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"fusion": {}}, "'base' is not possible"),
        ({"base": "net_G", "network": {}}, "no option 'network'"),
        ({"base": "net_G", "draws": -1}, "'draws' is not possible"),
        ({"base": "net_G", "colour_steps": 5}, "trains no colours"),
        ({"base": "net_G", "speed": 5}, "no such option"),
    ],
)
def test_impossible_trainings_are_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        FusionTrainConfig.from_mapping(values)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_configurations_of_the_paper_can_be_read(path: Path) -> None:
    config = read_train_config(path, FusionTrainConfig)
    fusion = config.fusion
    assert fusion.protocol == "described"
    if path.stem.startswith("pifu-"):
        epochs = 4 if fusion.variant == "experts" else 5
        assert config.steps == epochs * 100 * 360 // 16
        assert (config.batch, config.lr, config.optimizer, config.ema) == (16, 1e-3, "rmsprop", 0.0)
        assert fusion.pifu.image_size == 512
        assert fusion.freeze_filter == (fusion.variant != "add")


def test_each_ablation_of_the_paper_is_a_configuration() -> None:
    found = {read_train_config(path, FusionTrainConfig).fusion.experts for path in CONFIGS.glob("pifu-experts*.yaml")}
    assert found == {("image", "clip", "normals"), ("image", "clip"), ("clip",)}
    assert {read_train_config(path, FusionTrainConfig).fusion.variant for path in CONFIGS.glob("*.yaml")} == {
        "add",
        "concat",
        "experts",
    }
