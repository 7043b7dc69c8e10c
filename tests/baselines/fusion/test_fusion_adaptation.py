"""Few-sample adaptation of a fusion: frozen parts stay, the rest learns, the new checkpoint opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fusion_scenes as scenes
import pytest
import torch
from safetensors.torch import load_file

from baselines.fusion import PifuClipAdd, PifuExperts
from baselines.fusion.checkpoint import load_fusion
from baselines.fusion.training import FusionRun
from baselines.pifu.adaptation import HISTORY
from baselines.pifu.training import fit
from robench.errors import EnvironmentNotReady, UsageError
from robench.io.images import read_image, read_mask
from robench.training.lessons import Adaptable, AdaptJob, Lesson


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A trained Experts Fusion on a base of its own, and four lessons."""
    root = tmp_path_factory.mktemp("world")
    people = scenes.people(root)
    base = scenes.base(root / "base.safetensors")
    experts = fit(scenes.training(base, steps=6), people[:2], [], root / "experts", {}, kind=FusionRun)
    lessons = []
    for turn in (0, 1):
        for sample in people[:2]:
            assert sample.camera is not None
            assert sample.mask is not None
            assert sample.mesh is not None
            image = read_image(sample.image)
            mask = read_mask(sample.mask, image.shape[:2])
            dark = (image * (0.4 + 0.2 * turn)).astype(image.dtype)
            lessons.append(Lesson(f"{sample.sample_id}|dark:{turn}", dark, mask, sample.camera, sample.mesh))
    return {"experts": experts, "lessons": lessons, "base": base}


def adapted(model: Any, weights: Path | None, batches: Any, out: Path, **changes: Any) -> Any:
    how = {"lr": 1e-3, "epochs": 1, "seed": 0, "device": "cpu", "held_out": (), "facts": {"batches": len(batches)}}
    return model.adapt(weights, AdaptJob(batches, out, **{**how, "scratch": out.parent / "work", **changes}))


def test_the_frozen_filter_stays_and_the_rest_learns(world: dict[str, Any], tmp_path: Path) -> None:
    batches = [world["lessons"][:2], world["lessons"][2:]]
    made = adapted(PifuExperts(), world["experts"], batches, tmp_path / "a", epochs=2)
    before, after = load_file(world["experts"]), load_file(made.weights)
    assert before.keys() == after.keys()
    moved = {key.split(".")[1] for key in before if not torch.equal(before[key], after[key])}
    assert moved == {"surface_classifier", "expert_fusion", "pifu_patchify", "dpt_patchify", "clip_proj"}
    old, new = (load_fusion(path, "experts", "described") for path in (world["experts"], made.weights))
    for key, value in old.net.image_filter.state_dict().items():
        assert torch.equal(value, new.net.image_filter.state_dict()[key]), key
    assert new.provenance[HISTORY] == [{"batches": 2}]
    assert {name: part.sha256 for name, part in new.parts.items()} == {n: p.sha256 for n, p in old.parts.items()}
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["log.jsonl", "model.safetensors", "priors.json"]
    model = PifuExperts(resolution=16)
    assert isinstance(model, Adaptable)
    assert model.open("cpu", made.weights).checkpoint_sha256 != made.base_sha256


def test_no_batch_writes_the_base(world: dict[str, Any], tmp_path: Path) -> None:
    made = adapted(PifuExperts(), world["experts"], [], tmp_path / "a", held_out=world["lessons"][:2])
    before, after = load_file(world["experts"]), load_file(made.weights)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert 0 < made.error < 1


def test_the_priors_of_a_picture_are_computed_once(
    world: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    looked = FusionRun._looked

    def counting(self: FusionRun, images: torch.Tensor) -> Any:
        seen.append(len(images))
        return looked(self, images)

    monkeypatch.setattr(FusionRun, "_looked", counting)
    batches = [world["lessons"][:2], world["lessons"][2:]]
    adapted(PifuExperts(), world["experts"], batches, tmp_path / "a", epochs=3)
    assert sum(seen) == 4
    # Another number of batches or another rate, with the same scratch folder, asks for none again.
    adapted(PifuExperts(), world["experts"], batches[:1], tmp_path / "b")
    assert sum(seen) == 4


def test_an_image_filter_beside_the_base_is_found_from_the_new_folder(world: dict[str, Any], tmp_path: Path) -> None:
    beside = tmp_path / "moved"
    beside.mkdir()
    (beside / "model.safetensors").write_bytes(world["experts"].read_bytes())
    state = load_fusion(world["experts"], "experts", "described").net.image_filter.state_dict()
    assert state
    (beside / "priors.json").write_text(f'{{"image_filter": "{world["base"]}"}}')
    made = adapted(PifuExperts(), beside / "model.safetensors", [world["lessons"][:1]], tmp_path / "a")
    PifuExperts(resolution=16).open("cpu", made.weights)


def test_what_does_not_fit_is_refused(world: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pifu-experts"):
        adapted(PifuClipAdd(), world["experts"], [world["lessons"][:1]], tmp_path / "a")
    with pytest.raises(EnvironmentNotReady, match="'pifu-experts' ships no weights"):
        adapted(PifuExperts(), None, [world["lessons"][:1]], tmp_path / "a")
    with pytest.raises(UsageError, match="another protocol"):
        adapted(PifuExperts(protocol="as-coded"), world["experts"], [world["lessons"][:1]], tmp_path / "a")
