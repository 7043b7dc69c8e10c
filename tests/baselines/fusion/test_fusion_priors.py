"""What frozen networks are shown, by protocol; which weights they run with; what is missing is told."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fusion_scenes as scenes
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.fusion import priors
from baselines.fusion.items import PriorCache
from baselines.fusion.network import Priors
from baselines.fusion.priors import PriorEncoders, TinyNormals, overwritten
from robench.encoders.tiny import TinyRandom
from robench.errors import EnvironmentNotReady, UsageError

CPU = torch.device("cpu")
IMAGE = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1


def opened(protocol: str, **options: Any) -> PriorEncoders:
    return PriorEncoders(scenes.config(protocol=protocol, **options), CPU)


def ramp(shape: Sequence[int]) -> Tensor:
    """What the normals' network is made to say: numbers from -1 to 2."""
    return torch.linspace(-1, 2, math.prod(shape)).reshape(*shape)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """What reaches the two networks: the pixels that the encoder normalises, and those of the normals."""
    seen: dict[str, Tensor] = {}
    features = TinyRandom.features

    def spied(self: TinyRandom, images: Tensor) -> Tensor:
        seen["clip"] = images
        return features(self, images)

    def spied_normals(self: TinyNormals, pixels: Tensor) -> Tensor:
        seen["normals"] = pixels
        return ramp(pixels.shape)

    monkeypatch.setattr(TinyRandom, "features", spied)
    monkeypatch.setattr(TinyNormals, "forward", spied_normals)
    return seen


def test_described_shows_pictures_as_the_networks_were_trained(shown: dict[str, Tensor]) -> None:
    found = opened("described")(IMAGE)
    assert torch.equal(shown["clip"], (IMAGE + 1) / 2)
    smooth = F.interpolate((IMAGE + 1) / 2, size=(32, 32), mode="bilinear", antialias=True)
    assert torch.allclose(shown["normals"], smooth)
    assert found.normals is not None
    assert torch.equal(found.normals, ramp((2, 3, 32, 32)).clamp(0, 1))


def test_as_coded_shows_pictures_from_minus_one_and_plainly_resized(shown: dict[str, Tensor]) -> None:
    found = opened("as-coded")(IMAGE)
    assert torch.allclose(shown["clip"], F.interpolate(IMAGE, size=(64, 64), mode="bilinear"))
    assert shown["clip"].min() < 0
    assert torch.allclose(shown["normals"], F.interpolate(IMAGE, size=(32, 32), mode="bilinear"))
    assert found.normals is not None
    assert torch.equal(found.normals, ramp((2, 3, 32, 32)))


def test_the_background_is_mid_grey_for_described() -> None:
    grey, black = opened("described")(IMAGE * 0), opened("described")(IMAGE * 0 - 1)
    encoder = TinyRandom()
    encoder.open("cpu")
    assert grey.clip is not None
    assert black.clip is not None
    assert torch.allclose(grey.clip[0], encoder.features(torch.full((1, 3, 64, 64), 0.5))[0], atol=1e-6)
    assert not torch.allclose(grey.clip, black.clip)


def test_as_coded_runs_on_weights_drawn_anew_and_described_does_not() -> None:
    described, coded, again, other = (
        opened("described"), opened("as-coded"), opened("as-coded"), opened("as-coded", prior_seed=1)
    )  # fmt: skip
    nets: list[nn.Module] = [e._clip.network for e in (described, coded, again, other)]
    reference = TinyRandom()
    reference.open("cpu")
    assert reference.network is not None
    kept = dict(reference.network.named_parameters())
    for name, parameter in nets[0].named_parameters():
        assert torch.equal(parameter, kept[name])
    for name, parameter in overwritten(nets[1]).items():
        assert not torch.equal(parameter, kept[name])
        assert torch.equal(parameter, dict(nets[2].named_parameters())[name])
    assert not torch.equal(nets[1][0].weight, nets[3][0].weight)  # type: ignore[index]
    assert coded.parts == described.parts, "both name the weights that were loaded"


def test_of_clip_projections_of_attention_survive() -> None:
    pytest.importorskip("transformers", reason="the extra 'priors' is not installed")
    from robench.encoders.clip import ClipSize

    net = ClipSize(hidden=32, mlp=64, layers=1, heads=4, patch=8, image=32, dim=12).network().to_empty(device="cpu")
    for parameter in net.parameters():
        nn.init.constant_(parameter, 7.0)
    priors.redraw(net, torch.Generator().manual_seed(0), priors.BARE)
    changed = {name for name, p in net.named_parameters() if not bool((p == 7).all())}
    layer = "vision_model.encoder.layers.0"
    modules = [f"{layer}.self_attn.out_proj", f"{layer}.mlp.fc1", f"{layer}.mlp.fc2"]
    expected = {f"{module}.{kind}" for module in modules for kind in ("weight", "bias")}
    assert changed == expected | {"vision_model.embeddings.patch_embedding.weight"}


def test_only_networks_that_are_looked_at_are_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROBENCH_WEIGHTS", str(tmp_path))
    config = scenes.config(experts=["clip"], normals="dpt-hybrid-normals")
    encoders = PriorEncoders(config, CPU)
    assert sorted(encoders.parts) == ["clip"]
    assert encoders(IMAGE).normals is None
    assert encoders.parameters == TinyRandom.card.extra["parameters"]
    encoders.close()
    assert encoders.parameters == 0


# Bad input.


def test_missing_networks_are_told_with_the_place_or_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("robench.io.weights.hub_cache", lambda repository: None)
    with pytest.raises(EnvironmentNotReady, match=r"'dpt-hybrid-normals'.*put them to .*dpt-hybrid-normals\.pth"):
        opened("described", normals="dpt-hybrid-normals")
    with pytest.raises(EnvironmentNotReady, match=r"'clip-vit-l14'.*hf download"):
        opened("described", clip="clip-vit-l14")
    (tmp_path / "dpt-hybrid-normals.pth").write_text("<html>")
    with pytest.raises(UsageError, match="not a readable file of weights"):
        opened("described", normals="dpt-hybrid-normals")
    (tmp_path / "dpt").mkdir()
    config = scenes.config(normals="dpt-hybrid-normals")
    with pytest.raises(
        EnvironmentNotReady, match=r"not in .*dpt; got no file of weights; expected one file.*name the file"
    ):
        PriorEncoders(config, CPU, {"normals": tmp_path / "dpt"})
    for name in ("a.pth", "b.safetensors"):
        (tmp_path / "dpt" / name).write_text("")
    with pytest.raises(EnvironmentNotReady, match=r"got a\.pth, b\.safetensors"):
        PriorEncoders(config, CPU, {"normals": tmp_path / "dpt"})


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import importlib.util

    file = tmp_path / "clip.pt"
    torch.save({"visual.proj": torch.zeros(1)}, file)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else find(name))
    with pytest.raises(EnvironmentNotReady, match=r"transformers, which is not installed.*robench\[priors\]"):
        PriorEncoders(scenes.config(clip="clip-vit-l14"), CPU, {"clip": file})


def test_networks_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"'tiny-random' does not fit.*embeddings of 768 numbers.*clip_dim 512"):
        opened("described", clip_dim=512)
    with pytest.raises(UsageError, match="no network for normals 'sobel'; expected one of dpt-hybrid-normals"):
        opened("described", normals="sobel")
    with pytest.raises(UsageError, match="no encoder 'clip-vit'"):
        opened("described", clip="clip-vit")

    class Bare:
        card = dataclasses.replace(TinyRandom.card, name="bare")

        def open(self, device: str, weights: Path | None = None) -> Any:
            return TinyRandom().open(device)

    monkeypatch.setattr(priors.registry, "load", lambda kind, name: Bare())
    with pytest.raises(UsageError, match="cannot be used as coded"):
        opened("as-coded", experts=["clip"])


# The cache.


def test_what_was_computed_is_kept_on_disk_and_in_memory(tmp_path: Path) -> None:
    asked: list[int] = []

    def compute(images: Tensor) -> Priors:
        asked.append(len(images))
        return Priors(images.mean(dim=(2, 3)), images)

    image = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    cache = PriorCache(tmp_path, compute, 2)
    first = cache(image, ("a", "b", "a|2"))
    assert asked == [2, 1]
    second = cache(image[[1, 0]], ("b", "a"))
    third = PriorCache(tmp_path, compute, 2)(image, ("a", "b", "a|2"))
    assert asked == [2, 1]
    for name, order in (("clip", [1, 0]), ("normals", [1, 0])):
        whole = getattr(first, name)
        assert torch.equal(getattr(second, name), whole[order])
        assert torch.equal(getattr(third, name), whole), "what comes from disk has the same bits"
    assert first.clip is not None
    assert torch.equal(first.clip, image.mean(dim=(2, 3)))
    assert first.normals is not None
    assert torch.equal(first.normals, image.half().float())
    cache(image[:1], ("",))
    cache(image[:1], ("",))
    assert asked == [2, 1, 1, 1], "a picture without a name is not kept"
    assert len(list(tmp_path.iterdir())) == 3
    assert cache.computed == 5


def test_more_than_memory_holds_is_read_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("baselines.fusion.items._IN_MEMORY", 100)
    calls: list[int] = []
    cache = PriorCache(tmp_path, lambda images: calls.append(1) or Priors(images.flatten(1)), 1)
    image = torch.rand(2, 3, 4, 4)
    for _ in range(2):
        assert torch.equal(cache(image, ("x", "y")).clip, image.flatten(1))  # type: ignore[arg-type]
    assert len(calls) == 2
    assert np.sum([a.nbytes for kept in cache._kept.values() for a in kept.values()]) <= 100
