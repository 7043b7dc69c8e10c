"""Every model of the registry that takes weights, given the weights of every other: told by name and key by key."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import torch

from baselines.fusion.checkpoint import save_fusion
from baselines.fusion.network import FusionNet
from baselines.fusion.priors import PriorEncoders
from baselines.pifu.network import blank
from robench import registry
from robench.errors import UsageError

sys.path.insert(0, str(Path(__file__).parent / "fusion"))
sys.path.insert(0, str(Path(__file__).parent / "pifuhd"))
import fusion_scenes
import pifuhd_files

FUSIONS = {"pifu-clip-add": "add", "pifu-clip-concat": "concat", "pifu-experts": "experts"}
PROTOCOLS = ("described", "as-coded")
KINDS = [("pifu", ""), ("pifuhd", ""), *product(FUSIONS, PROTOCOLS)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """A small checkpoint of each kind."""
    root = tmp_path_factory.mktemp("weights")
    found = {
        ("pifu", ""): fusion_scenes.base(root / "pifu.safetensors"),
        ("pifuhd", ""): pifuhd_files.write(root / "hd" / "pifuhd.pt"),
    }
    for model, protocol in product(FUSIONS, PROTOCOLS):
        config = fusion_scenes.config(variant=FUSIONS[model], protocol=protocol, freeze_filter=False)
        net = blank(FusionNet, config)
        for value in net.state_dict().values():
            value.zero_()
        path = root / f"{model}-{protocol}.safetensors"
        save_fusion(path, net, PriorEncoders(config, torch.device("cpu"), {}).parts, {})
        found[model, protocol] = path
    return found


def opened(kind: tuple[str, str], path: Path) -> None:
    model = registry.load("models", kind[0])
    if kind[1]:
        model.protocol = kind[1]
    try:
        model.open("cpu", path)
    finally:
        model.close()


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_its_own_opens(kind: tuple[str, str], files: dict[tuple[str, str], Path]) -> None:
    opened(kind, files[kind])


def others() -> Iterator[tuple[tuple[str, str], tuple[str, str], str]]:
    """Each model, another's file, and what the message must say: keys, and what to type instead."""
    for kind, other in product(KINDS, KINDS):
        if kind == other:
            continue
        told = f"--model {other[0]}"
        if other[0] == "pifuhd":
            # A pickle with objects in it, which is not read to name its keys.
            told = r"names argparse\.Namespace.*--model pifuhd"
        elif other[0] == kind[0]:
            told = rf"another protocol; got {other[1]}; expected {kind[1]}.*--model-option protocol={other[1]}$"
        elif kind[0] in FUSIONS and other[0] == "pifu":
            told = "unexpected: image_filter.*name it as the 'base' of a training"
        else:
            faults = {
                "pifu": "" if other[0] == "pifu-clip-add" else r"unexpected: net_G\.clip_.*",
                "pifuhd": r"\d+ missing: .*\d+ unexpected: net_G\..*",
                "pifu-clip-add": "unexpected: clip_.*",
                "pifu-clip-concat": r"2 missing: clip_feature_transform\.fc\.weight, .*",
                "pifu-experts": r"35 missing: expert_fusion\.latents.*",
            }
            protocol = f" --model-option protocol={other[1]}" if other[1] else ""
            told = rf"{faults[kind[0]]}--model {other[0]}{protocol}$"
        yield kind, other, told


@pytest.mark.parametrize(
    ("kind", "other", "told"), list(others()), ids=lambda value: "-".join(value) if isinstance(value, tuple) else "told"
)
def test_anothers_is_named(
    kind: tuple[str, str], other: tuple[str, str], told: str, files: dict[tuple[str, str], Path]
) -> None:
    with pytest.raises(UsageError, match=told) as error:
        opened(kind, files[other])
    assert str(files[other]) in str(error.value)
    assert "\n" not in str(error.value)
