"""Training and opening: frozen parts stay frozen and outside the file, runs resume exactly, wrong files are named."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import fusion_scenes as scenes
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from baselines.fusion import PifuClipAdd, PifuClipConcat, PifuExperts
from baselines.fusion.checkpoint import load_fusion, read_places
from baselines.fusion.config import MODEL_NAMES
from baselines.fusion.train_config import FusionTrainConfig
from baselines.fusion.training import FusionRun, train
from baselines.pifu.checkpoint import load_weights, save_weights
from baselines.pifu.network import ShapeNet, init_weights
from baselines.pifu.training import fit
from robench import testing
from robench.contracts import Failure, Request, Sample
from robench.errors import EnvironmentNotReady, Mismatch, UsageError

MODELS: dict[str, Any] = {"experts": PifuExperts, "add": PifuClipAdd, "concat": PifuClipConcat}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return scenes.people(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes.base(tmp_path_factory.mktemp("base") / "base.safetensors")


def trained(config: FusionTrainConfig, people: list[Sample], out: Path, **options: Any) -> Path:
    return fit(config, people[:2], people[2:], out, {"dataset": "ellipsoids"}, kind=FusionRun, **options)


@pytest.fixture(scope="module")
def experts(people: list[Sample], base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained Experts Fusion, as described."""
    return trained(scenes.training(base), people, tmp_path_factory.mktemp("experts"))


def net_keys(path: Path) -> set[str]:
    with safe_open(str(path), framework="pt") as file:
        return {key.removeprefix("net_G.").split(".")[0] for key in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize("variant", list(MODELS))
@pytest.mark.parametrize("protocol", ["described", "as-coded"])
def test_each_variant_trains_by_both_protocols_and_keeps_the_contract(
    variant: str, protocol: str, people: list[Sample], base: Path, tmp_path: Path
) -> None:
    frozen = variant != "add"
    fusion = {"variant": variant, "protocol": protocol, "freeze_filter": frozen}
    path = trained(scenes.training(base, fusion, steps=4), people, tmp_path)
    assert ("image_filter" in net_keys(path)) is not frozen
    testing.check_model(MODELS[variant](resolution=16, protocol=protocol), path)


def test_frozen_parts_stay_and_the_rest_moves(experts: Path, base: Path, people: list[Sample], tmp_path: Path) -> None:
    assert net_keys(experts) == {"surface_classifier", "expert_fusion", "pifu_patchify", "dpt_patchify", "clip_proj"}
    state = torch.load(experts.parent / "last.pt", weights_only=True)
    for net in ("net", "average"):
        assert not [key for key in state[net] if key.startswith("image_filter.")]
    loaded = load_fusion(experts, "experts", "described")
    before = load_weights(base).shape.image_filter.state_dict()
    assert all(torch.equal(v, before[k]) for k, v in loaded.net.image_filter.state_dict().items())
    start = trained(scenes.training(base, lr=1e-12, steps=1), people, tmp_path)
    first, last = load_file(start), load_file(experts)
    assert all(not torch.equal(first[k], last[k]) for k in last if "ln_" not in k and "bias" not in k)


def test_as_coded_trains_the_classifier_alone(people: list[Sample], base: Path, tmp_path: Path) -> None:
    config = scenes.training(base, {"protocol": "as-coded"}, ema=0.0)
    first = trained(replace(config, steps=1, lr=1e-12), people, tmp_path / "a")
    last = trained(config, people, tmp_path / "b")
    start, end = load_file(first), load_file(last)
    moved = {key.split(".")[1] for key in end if not torch.allclose(start[key], end[key], atol=1e-9)}
    assert moved == {"surface_classifier"}
    assert "net_G.expert_fusion.latents" in end, "random as it is, it cannot be had again"


def test_the_published_initialisation_is_drawn_for_all_but_the_filter(base: Path, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    config = scenes.training(base, {"variant": "concat"}, init="published")
    run = FusionRun(config, tmp_path, torch.device("cpu"), None, [], [], {}, None)
    net = run.fresh_shape()
    weight = net.clip_feature_transform.fc.weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not net.clip_feature_transform.fc.bias.any()
    before = load_weights(base).shape.image_filter.state_dict()
    assert all(torch.equal(v, before[k]) for k, v in net.image_filter.state_dict().items())


def test_a_resumed_run_ends_in_the_same_weights_and_computes_no_prior_twice(
    people: list[Sample], base: Path, experts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    looked = FusionRun._looked
    monkeypatch.setattr(FusionRun, "_looked", lambda self, x: computed.append(len(x)) or looked(self, x))
    step = FusionRun._step
    done = 0

    def stopping(self: FusionRun, *arguments: Any) -> Any:
        nonlocal done
        done += 1
        if done == 6:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(FusionRun, "_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        trained(scenes.training(base), people, tmp_path)
    path = trained(scenes.training(base), people, tmp_path, resume=True)
    whole, found = load_file(experts), load_file(path)
    assert all(torch.equal(whole[key], found[key]) for key in whole)
    # Two pictures by two augmentations, and one of validation, however many epochs and runs.
    assert sum(computed) == 5


def test_pictures_may_be_shown_otherwise_by_turns(people: list[Sample], base: Path, tmp_path: Path) -> None:
    from baselines.fusion.items import fusion_batch
    from baselines.pifu.items import Item, load_items

    config = scenes.training(base)
    items = load_items(people, config, tmp_path, lambda text: None)
    asked: list[list[str]] = []

    def darker(chosen: Any, turns: Any) -> list[Item]:
        asked.append(list(turns))
        return [replace(item, image=item.image // 2) for item in chosen]

    # Three items and batches of two: every six positions the two augmentations of each have had their turn.
    found = [fusion_batch(items, config, step, darker) for step in range(6)]
    assert asked[:3] == [["fusion 0", "fusion 0"], ["fusion 0", "fusion 1"], ["fusion 1", "fusion 1"]]
    assert {key for batch in found[:3] for key in batch.keys} == {key for batch in found[3:] for key in batch.keys}
    assert len({key for batch in found for key in batch.keys}) == 6
    plain = fusion_batch(items, config, 0)
    assert plain.keys != found[0].keys
    assert abs(plain.images).sum() != abs(found[0].images).sum()
    assert (plain.points == found[0].points).all()


def test_without_draws_every_augmentation_is_new(people: list[Sample], base: Path, tmp_path: Path) -> None:
    trained(scenes.training(base, draws=0, steps=4), people, tmp_path)
    assert len(list((tmp_path / "priors").rglob("*.npz"))) == 1, "only the picture of validation comes again"


def test_a_checkpoint_says_what_it_needs_and_no_path_of_this_machine(experts: Path, base: Path) -> None:
    with safe_open(str(experts), framework="pt") as file:
        said = dict(file.metadata())
    parts = json.loads(said["parts"])
    assert sorted(parts) == ["clip", "image_filter", "normals"]
    assert all(len(part["sha256"]) == 64 for part in parts.values())
    assert str(base.parent) not in json.dumps(said)
    provenance = json.loads(said["provenance"])
    assert provenance["dataset"] == "ellipsoids"
    assert provenance["options"]["fusion"]["variant"] == "experts"
    assert read_places(experts.parent) == {"image_filter": base}


def test_the_report_counts_frozen_networks_too(experts: Path) -> None:
    model = PifuExperts(resolution=16)
    report = model.open("cpu", experts.parent)
    net = load_fusion(experts, "experts", "described").net
    own = sum(p.numel() for p in net.parameters())
    tiny_normals = (3 * 8 + 8 * 3) * 9 + 8 + 3
    assert report.parameters == own + 73_504 + tiny_normals
    assert report.loaded_keys == len(load_file(experts))
    model.close()


# Bad input.


def test_a_checkpoint_of_another_variant_is_named_key_by_key(experts: Path) -> None:
    with pytest.raises(UsageError, match=r"35 unexpected: .*expert_fusion\.latents.*--model pifu-experts"):
        PifuClipAdd().open("cpu", experts)
    with pytest.raises(UsageError, match=r"2 missing: clip_feature_transform\.fc\.weight, .*--model pifu-experts"):
        PifuClipConcat().open("cpu", experts)
    with pytest.raises(UsageError, match=r"another protocol; got described; expected as-coded.*protocol=described"):
        PifuExperts(protocol="as-coded").open("cpu", experts)


def test_a_plain_pifu_is_no_fusion(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing: .*clip_proj\.weight.*unexpected: image_filter.*'base' of a train"):
        PifuExperts().open("cpu", base)
    torch.save(load_weights(base).shape.state_dict(), tmp_path / "net_G")
    with pytest.raises(UsageError, match=r"missing: .*expert_fusion.*'base' of a training"):
        PifuExperts().open("cpu", tmp_path / "net_G")


@pytest.mark.parametrize("name", list(MODEL_NAMES.values()))
def test_without_a_checkpoint_the_training_is_named(name: str) -> None:
    from robench import registry

    model = registry.load("models", name)
    with pytest.raises(EnvironmentNotReady, match=rf"'{name}' ships no weights.*robench train {name}"):
        model.open("cpu")
    with pytest.raises(EnvironmentNotReady, match="no file"):
        model.open("cpu", Path("nowhere"))


def test_another_or_no_image_filter_is_told(experts: Path, base: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copy(experts, tmp_path / "model.safetensors"))
    with pytest.raises(EnvironmentNotReady, match="'net_G' are not there"):
        PifuExperts().open("cpu", alone)
    other = scenes.base(tmp_path / "other.safetensors", seed=1)
    (tmp_path / "priors.json").write_text(json.dumps({"image_filter": "other.safetensors"}))
    with pytest.raises(Mismatch, match="trained on another image filter"):
        PifuExperts().open("cpu", alone)
    net = ShapeNet(load_weights(base).config)
    init_weights(net, torch.Generator().manual_seed(0))
    torch.save(net.state_dict(), tmp_path / "same")
    save_weights(other, net, None, {"the same weights": "in another file"})
    PifuExperts(resolution=16).open("cpu", alone)
    wide = scenes.base(tmp_path / "wide.safetensors", width=16)
    (tmp_path / "priors.json").write_text(json.dumps({"image_filter": str(wide)}))
    with pytest.raises(UsageError, match="does not fit this fusion; got width 16 instead of 8"):
        PifuExperts().open("cpu", alone)
    (tmp_path / "priors.json").write_text('{"colours": 3}')
    with pytest.raises(UsageError, match="not understood"):
        PifuExperts().open("cpu", alone)


def test_other_weights_of_an_encoder_are_a_mismatch(experts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import robench.encoders.tiny as tiny

    load = tiny.TinyRandom.load

    def changed(self: Any, weights: Path | None) -> Any:
        net, keys = load(self, weights)
        with torch.no_grad():
            net[0].weight[0, 0, 0, 0] += 1e-3
        return net, keys

    monkeypatch.setattr(tiny.TinyRandom, "load", changed)
    with pytest.raises(Mismatch, match="trained with other weights of 'tiny-random'"):
        PifuExperts().open("cpu", experts)


def test_damaged_metadata_are_told(experts: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with safe_open(str(experts), framework="pt") as file:
        said = dict(file.metadata())
    for change, message in (
        ({"parts": "{"}, "metadata of .* are damaged"),
        ({"parts": "{}"}, "no word about image_filter, clip, normals"),
        ({"parts": '{"clip": 3}'}, "are damaged"),
        ({"config": "[]"}, "no mapping"),
        ({"config": '{"variant": "experts", "latents": 999999}'}, "'latents' is not possible"),
    ):
        save_file(load_file(experts), tmp_path / "model.safetensors", metadata={**said, **change})
        with pytest.raises(UsageError, match=message):
            PifuExperts().open("cpu", tmp_path)


def test_options_of_another_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "options.yaml"
    path.write_text("base: net_G\nfusion: {variant: concat}\n")
    with pytest.raises(UsageError, match=r"options of another model; got pifu-clip-concat.*robench train pifu-clip-c"):
        train("experts", path, tmp_path, tmp_path / "out")


def test_what_is_missing_is_told_before_the_data_are_read(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr("robench.io.weights.hub_cache", lambda repository: None)
    monkeypatch.setattr("baselines.fusion.training.opened", lambda data: pytest.fail("it read the data"))
    path = tmp_path / "options.yaml"
    options = {"fusion": {**scenes.FUSION, "clip": "clip-vit-l14"}, "base": "net_G"}
    path.write_text(json.dumps(options))
    with pytest.raises(EnvironmentNotReady, match=r"'net_G' are not there.*put them to .*weights/net_G"):
        train("experts", path, tmp_path, tmp_path / "out")
    (tmp_path / "weights").mkdir()
    torch.save(load_weights(base).shape.state_dict(), tmp_path / "weights" / "net_G")
    with pytest.raises(UsageError, match="net_G"):  # of other sizes than the published ones, which its name promises
        train("experts", path, tmp_path, tmp_path / "out")
    path.write_text(json.dumps({**options, "base": str(base)}))
    with pytest.raises(EnvironmentNotReady, match=r"'clip-vit-l14' are not there.*hf download"):
        train("experts", path, tmp_path, tmp_path / "out")
    path.write_text(json.dumps({**options, "base": "pifu-mini"}))
    with pytest.raises(UsageError, match=r"image filter of .*pifu-mini.* does not fit this fusion; got image_size 128"):
        train("experts", path, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_base_may_lie_beside_the_options(tmp_path: Path, base: Path) -> None:
    from baselines.fusion.train_config import FusionTrainConfig
    from baselines.pifu.train_config import read_train_config

    shutil.copy(base, tmp_path / "mine.safetensors")
    (tmp_path / "options.yaml").write_text("base: mine.safetensors\n")
    assert read_train_config(tmp_path / "options.yaml", FusionTrainConfig).base == str(tmp_path / "mine.safetensors")
    (tmp_path / "options.yaml").write_text("base: pifu-mini\n")
    assert read_train_config(tmp_path / "options.yaml", FusionTrainConfig).base == "pifu-mini"


@pytest.mark.parametrize(
    ("variant", "protocol"), [("experts", "described"), ("concat", "as-coded"), ("add", "described")]
)
def test_reduced_precision_trains_and_reconstructs(
    variant: str, protocol: str, people: list[Sample], base: Path, tmp_path: Path
) -> None:
    fusion = {"variant": variant, "protocol": protocol}
    path = trained(scenes.training(base, fusion, precision="bfloat16", steps=2), people, tmp_path)
    request = Request("a", testing.example_image(), testing.example_mask(), testing.example_camera())
    found = {}
    for precision in ("float32", "bfloat16"):
        model = MODELS[variant](resolution=16, protocol=protocol, precision=precision)
        model.open("cpu", path)
        predictor = model._predictor
        with torch.inference_mode(), predictor._reduced():
            found[precision] = predictor.encode(torch.zeros(1, 3, 32, 32)).maps[-1]
        result = model.reconstruct([request])[0]
        assert not isinstance(result, Failure) or result.kind == "degenerate", "two steps may leave an empty field"
        model.close()
    assert found["bfloat16"].dtype == torch.bfloat16
    spread = (found["bfloat16"].float() - found["float32"]).abs().max()
    assert 0 < spread < 0.05 * found["float32"].abs().max()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("protocol", ["described", "as-coded"])
def test_training_and_opening_on_cuda(protocol: str, people: list[Sample], base: Path, tmp_path: Path) -> None:
    config = scenes.training(base, {"protocol": protocol}, precision="auto")
    path = trained(config, people, tmp_path, device="cuda")
    maps = []
    for device in ("cuda", "cpu"):
        model = PifuExperts(resolution=16, protocol=protocol)
        model.open(device, path)
        with torch.inference_mode():
            maps.append(model._predictor.encode(torch.full((1, 3, 32, 32), 0.25, device=device)).maps[-1].cpu())
        model.close()
    assert (maps[0] - maps[1]).abs().max() < 1e-2 * maps[1].abs().max()


def test_corrupted_pictures_have_priors_of_their_own(people: list[Sample], base: Path, tmp_path: Path) -> None:
    corruptions = [{"condition": "low_light", "severities": [5], "share": 1.0}]
    trained(scenes.training(base, corruptions=corruptions, steps=4), people, tmp_path)
    # Two pictures by two turns, and of the one of validation the clean and the corrupted.
    assert len(list((tmp_path / "priors").rglob("*.npz"))) == 6
