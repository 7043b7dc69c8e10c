"""The published forward pass, array by array; the parameter counts of Table III, digit by digit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.fusion import PifuExperts, dpt, parity
from baselines.fusion.config import FusionConfig
from baselines.fusion.network import FusionNet
from baselines.fusion.priors import BARE, overwritten, redraw
from baselines.fusion.table import parameter_table
from robench.encoders.clip import VIT_L14
from robench.errors import UsageError

GOLDENS = Path(__file__).parents[2] / "goldens"


@pytest.mark.parametrize("name", ["add", "tfconcat", "prismer_img_dpt_clip", "inputs"])
def test_golden_values_hold(name: str) -> None:
    lines = PifuExperts().parity(GOLDENS / f"hash_seed_{name}.npz")
    assert lines
    assert [line for line in lines if not line.ok] == []


def test_a_wrong_value_is_found(tmp_path: Path) -> None:
    with np.load(GOLDENS / "hash_seed_inputs.npz") as golden:
        arrays = dict(golden)
    arrays["normal"] = arrays["normal"] + np.float32(1e-4)
    np.savez(tmp_path / "hash_seed_inputs.npz", **arrays)
    found = {line.array: line.ok for line in parity.parity(tmp_path / "hash_seed_inputs.npz")}
    assert found == {"normal": False, "clip_embedding": True}
    with pytest.raises(UsageError, match="names no configuration of PIFu with 2D priors"):
        parity.parity(tmp_path / "seed_other.npz")


# Table III.


def test_the_table_is_the_papers_to_the_digit() -> None:
    pytest.importorskip("transformers", reason="the extra 'priors' is not installed")
    rows = {row.model: row for row in parameter_table()}
    for name in ("baseline", "Experts Fusion, as coded", "add-based fusion"):
        assert (rows[name].trainable, rows[name].total) == rows[name].published, name
    assert rows["baseline"].total == 15_604_738
    assert rows["Experts Fusion, as coded"].published == (1_185_795, 567_078_959)
    assert rows["add-based fusion"].published == (15_604_738, 443_221_251)
    # What the specification counted on the published classes for the row whose figures contradict each other.
    free = rows["tf_concat, nothing frozen, as coded"]
    assert (free.trainable, free.total) == (28_204_034, 455_820_547)
    frozen = rows["tf_concat with frozen PIFu encoder, as coded"]
    assert frozen.published == (1_185_795, 15_604_738)
    # 257 inputs instead of 258, in each of the five layers: one weight fewer for each of their outputs.
    assert frozen.trainable == 1_185_795 - (1024 + 512 + 256 + 128 + 1) == 1_183_874
    assert frozen.total == free.total
    for row in rows.values():
        assert row.trainable <= row.used <= row.total
        assert row.note


def test_what_the_text_trains_is_the_classifier_and_the_fusion() -> None:
    with torch.device("meta"):
        net = FusionNet(FusionConfig())
    counts: dict[str, int] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            part = name.split(".")[0]
            counts[part] = counts.get(part, 0) + parameter.numel()
    assert counts == {
        "surface_classifier": 1_185_795,
        "expert_fusion": 413_440,
        "pifu_patchify": 98_432,
        "dpt_patchify": 98_432,
        "clip_proj": 98_432,
    }


def test_the_page_prints_what_the_table_counts() -> None:
    page = (Path(__file__).parents[3] / "docs" / "models" / "fusion.md").read_text("utf-8")
    for row in parameter_table():
        said = " / ".join(f"{n:,}" for n in row.published) + " " if row.published else ""
        assert f"| {row.model} | {row.trainable:,} | {row.total:,} | {row.used:,} | {said}|" in page


def test_the_cards_say_what_the_table_counts() -> None:
    from robench import registry

    rows = {row.model: row for row in parameter_table()}
    names = {
        "pifu-experts": "Experts Fusion, as described",
        "pifu-clip-add": "add-based fusion",
        "pifu-clip-concat": "tf_concat with frozen PIFu encoder, as described",
    }
    for model, row in names.items():
        said = registry.load("models", model).card.extra["parameters"]
        assert said["trainable"] == rows[row].trainable
        assert sum(said.values()) == rows[row].used


# The weights that the published code drew anew after loading them.


def test_clip_keeps_what_escaped_the_published_initialisation() -> None:
    pytest.importorskip("transformers", reason="the extra 'priors' is not installed")
    net = VIT_L14.network()
    done = overwritten(net, BARE)
    # The published measure counts what changed in a fresh network, where attention's output biases are 0 already.
    changed = [p.numel() for name, p in done.items() if not name.endswith("out_proj.bias")]
    assert (len(changed), sum(changed)) == (121, 227_217_408)
    spared = {name.rsplit(".", 2)[-2] for name, _ in net.named_parameters() if name not in done}
    assert {"q_proj", "k_proj", "v_proj", "visual_projection", "position_embedding"} <= spared


def test_dpt_keeps_norms_and_positions_alone() -> None:
    pytest.importorskip("transformers", reason="the extra 'priors' is not installed")
    net = dpt.DPT_HYBRID.network()
    done = overwritten(net)
    # timm starts the biases of transformer blocks at 0, so that they do not change; its unused head is redrawn too.
    changed = [p.numel() for k, p in done.items() if not (".encoder.layer." in k and k.endswith(".bias"))]
    assert sum(changed) + 768 * 1000 == 122_540_995
    assert sum(p.numel() for p in net.parameters()) + 769_000 == 123_147_051
    assert len(dpt.names(dpt.DPT_HYBRID)) + len(dpt.UNUSED) == 368


def test_drawing_anew_is_a_function_of_the_generator() -> None:
    nets = [torch.nn.Sequential(torch.nn.Linear(40, 50), torch.nn.LayerNorm(50)) for _ in range(2)]
    for net in nets:
        assert list(overwritten(net)) == ["0.weight", "0.bias"]
        redraw(net, torch.Generator().manual_seed(5))
    first = nets[0][0].weight
    assert torch.equal(first, nets[1][0].weight)
    assert first.std().item() == pytest.approx(0.02, rel=0.1)
    assert not nets[0][0].bias.any()


def test_ablations_have_their_golden_configuration() -> None:
    assert set(parity.CASES) == {
        "seed_add", "seed_tfconcat", "seed_prismer_img_dpt_clip", "seed_prismer_img_clip", "seed_prismer_clip",
        "seed_inputs",
    }  # fmt: skip
    assert replace(parity.AS_CODED, experts=("clip",)).uses == ("clip",)
