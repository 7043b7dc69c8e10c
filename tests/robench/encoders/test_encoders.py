"""Encoders: OpenAI's weights and transformers' give one function; what does not fit is named; nothing is fetched."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from robench import registry, testing
from robench.contracts import Card
from robench.encoders.clip import VIT_L14, ClipEncoder, ClipSize
from robench.encoders.openai_clip import names, read_openai
from robench.encoders.torch_encoder import fitted
from robench.errors import EnvironmentNotReady, UsageError
from robench.io import weights as io_weights

TINY = ClipSize(hidden=32, mlp=64, layers=2, heads=4, patch=8, image=32, dim=12)


class Block(nn.Module):
    """A residual attention block, written from CLIP's paper with OpenAI's names."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(TINY.hidden, TINY.heads)
        self.ln_1, self.ln_2 = nn.LayerNorm(TINY.hidden), nn.LayerNorm(TINY.hidden)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(TINY.hidden, TINY.mlp))
        self.mlp.add_module("c_proj", nn.Linear(TINY.mlp, TINY.hidden))

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        h = self.mlp.c_fc(self.ln_2(x))
        return x + self.mlp.c_proj(h * torch.sigmoid(1.702 * h))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*(Block() for _ in range(TINY.layers)))

    def forward(self, x: Tensor) -> Tensor:
        return self.resblocks(x)


class Visual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, TINY.hidden, TINY.patch, stride=TINY.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(TINY.hidden))
        self.positional_embedding = nn.Parameter(torch.randn(TINY.tokens, TINY.hidden))
        self.ln_pre, self.ln_post = nn.LayerNorm(TINY.hidden), nn.LayerNorm(TINY.hidden)
        self.transformer = Transformer()
        self.proj = nn.Parameter(torch.randn(TINY.hidden, TINY.dim))

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.conv1(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding + torch.zeros(len(x), 1, TINY.hidden)
        x = self.ln_pre(torch.cat([first, x], dim=1) + self.positional_embedding)
        x = self.transformer(x.transpose(0, 1)).transpose(0, 1)
        return self.ln_post(x[:, 0]) @ self.proj


class OpenAiClip(nn.Module):
    """The image half of a CLIP, and three tensors of the other half."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = Visual()
        self.logit_scale = nn.Parameter(torch.tensor(4.6))
        self.text_projection = nn.Parameter(torch.zeros(4, 4))
        # Not in a state dict, but in an archive.
        self.transformer = nn.ModuleDict({"resblocks": nn.ModuleList([nn.Identity()])})
        self.transformer["resblocks"][0].register_buffer("attn_mask", torch.zeros(3, 3), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.visual(pixels)


@pytest.fixture(scope="module")
def original() -> OpenAiClip:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = OpenAiClip()
        for parameter in net.parameters():
            nn.init.normal_(parameter, 0.0, 0.3)
    return net.eval()


def encoder() -> ClipEncoder:
    return ClipEncoder(Card("clip-tiny", "1", "a tiny CLIP"), TINY)


@pytest.fixture
def folder(tmp_path: Path, original: OpenAiClip) -> Path:
    """A folder as transformers saves a CLIP, made from the original's weights by hand, text tensors included."""
    state = original.state_dict()
    tensors: dict[str, Tensor] = {"text_projection.weight": torch.zeros(4, 4), "logit_scale": torch.tensor(4.6)}
    for theirs, ours in names(TINY.layers).items():
        value = state[theirs].T if theirs == "visual.proj" else state[theirs]
        parts = value.chunk(len(ours))
        tensors |= {name: part.contiguous() for name, part in zip(ours, parts, strict=True)}
    tensors["vision_model.embeddings.position_ids"] = torch.arange(TINY.tokens)[None]
    save_file(tensors, tmp_path / "model.safetensors")
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = {"vision_config": {**vision, "patch_size": 8, "image_size": 32}, "projection_dim": 12}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_every_form_of_the_weights_gives_the_function_of_the_paper(
    tmp_path: Path, original: OpenAiClip, folder: Path
) -> None:
    pixels = torch.linspace(-2, 2, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32).sin()
    torch.save(original.state_dict(), tmp_path / "state.pt")
    with torch.no_grad():
        expected = original(pixels)
        torch.jit.trace(original, pixels).save(str(tmp_path / "archive.pt"))
    for place in (tmp_path / "state.pt", tmp_path / "archive.pt", folder):
        opened = encoder()
        report = opened.open("cpu", place)
        assert report.loaded_keys == len([n for ours in names(TINY.layers).values() for n in ours])
        assert opened.network is not None
        assert (opened.vectors(opened.network, pixels) - expected).abs().max() < 2e-5 * expected.abs().max()
        opened.close()


def test_the_conformance_suite_accepts_it(folder: Path) -> None:
    testing.check_encoder(encoder(), folder)


def test_the_published_encoder_has_the_published_size() -> None:
    pytest.importorskip("transformers", reason="the extra 'priors' is not installed")
    net = VIT_L14.network()
    assert sum(p.numel() for p in net.parameters()) == 303_966_208
    ours = [name for each in names(VIT_L14.layers).values() for name in each]
    assert sorted(ours) == sorted(net.state_dict())
    assert len(names(VIT_L14.layers)) == 296


def test_features_normalise_pixels_by_clips_statistics(folder: Path) -> None:
    opened = encoder()
    opened.open("cpu", folder)
    assert opened.network is not None
    seen: list[Tensor] = []
    opened.vectors = lambda network, pixels: seen.append(pixels) or torch.ones(1, 12)  # type: ignore[method-assign]
    opened.features(torch.tensor([0.48145466, 0.4578275, 1.0])[None, :, None, None].expand(1, 3, 32, 32))
    found = seen[0][0, :, 0, 0].tolist()
    assert found == pytest.approx([0.0, 0.0, (1 - 0.40821073) / 0.27577711], abs=1e-6)


def test_pictures_keep_their_middle_and_their_aspect() -> None:
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 32, 64)
    wide = fitted(ramp, 16)
    assert wide.shape == (1, 3, 16, 16)
    assert wide.mean().item() == pytest.approx(0.5, abs=1e-3)
    # The middle half of the width, and nothing squeezed: the ramp rises by half.
    assert (wide[0, 0, 8, -1] - wide[0, 0, 8, 0]).item() == pytest.approx(0.5 * 15 / 16, abs=0.02)
    assert fitted(wide, 16) is wide


def test_embed_is_the_cosine_of_features(folder: Path) -> None:
    opened = encoder()
    opened.open("cpu", folder)
    image = testing.example_image((40, 32))
    vector = opened.embed([image])[0]
    raw = opened.features(torch.from_numpy(image).permute(2, 0, 1)[None] / 255.0)
    assert np.allclose(vector, F.normalize(raw, dim=1)[0].numpy(), atol=1e-6)


# Bad input.


def test_nothing_is_fetched_and_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    clip: Any = registry.load("encoders", "clip-vit-l14")
    with pytest.raises(EnvironmentNotReady, match=r"'clip-vit-l14'.*hf download openai/clip-vit-large-patch14"):
        clip.open("cpu")
    with pytest.raises(EnvironmentNotReady, match=r"no file or folder .*hf download .* --local-dir .*nowhere"):
        clip.open("cpu", tmp_path / "nowhere")
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"hidden_size": 768}')
    with pytest.raises(UsageError, match=r"another CLIP; got hidden_size 768.*hf download .*, then clip-vit-l14:DIR"):
        clip.open("cpu", tmp_path / "bert")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EnvironmentNotReady, match=r"no weights of 'clip-vit-l14'.*model\.safetensors"):
        clip.open("cpu", tmp_path / "empty")


def test_the_cache_of_the_hub_and_the_weights_folder_are_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(io_weights, "hub_cache", lambda repository: Path("cached") / repository)
    assert io_weights.find_weights("net", None, (".pt",), "a/b") == Path("cached/a/b")
    (tmp_path / "net.pt").write_text("")
    assert io_weights.find_weights("net", None, (".pt",), "a/b") == tmp_path / "net.pt"
    assert io_weights.find_weights("net", tmp_path, (".pt",)) == tmp_path


def test_a_snapshot_in_the_hubs_cache_is_found_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub", reason="the extra 'priors' is not installed")
    repository = tmp_path / "models--a--b"
    (repository / "snapshots" / "c0ffee").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("c0ffee")
    (repository / "snapshots" / "c0ffee" / "config.json").write_text("{}")
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("it asked the network"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    assert io_weights.hub_cache("a/b") == repository / "snapshots" / "c0ffee"
    assert io_weights.hub_cache("a/other") is None


def test_an_encoder_of_another_input_size_is_refused(tmp_path: Path, folder: Path, original: OpenAiClip) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["image_size"] = 48
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="another CLIP; got image_size 48; expected image_size 32"):
        encoder().open("cpu", folder)
    state = original.state_dict()
    state["visual.positional_embedding"] = torch.zeros(37, 32)
    torch.save(state, tmp_path / "large.pt")
    with pytest.raises(UsageError, match=r"another input size; got an input of 48 pixels \(37 .*expected 32"):
        encoder().open("cpu", tmp_path / "large.pt")


def test_every_key_at_fault_is_named(tmp_path: Path, original: OpenAiClip) -> None:
    state = original.state_dict()
    state["visual.extra"] = torch.zeros(1)
    del state["visual.ln_pre.bias"]
    torch.save(state, tmp_path / "wrong.pt")
    with pytest.raises(UsageError, match=r"1 missing: visual\.ln_pre\.bias; 1 unexpected: visual\.extra"):
        encoder().open("cpu", tmp_path / "wrong.pt")
    save_file({"net.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match=r"missing: .*unexpected: net\.weight.*is it a CLIP"):
        encoder().open("cpu", tmp_path / "other.safetensors")
    state = original.state_dict() | {"visual.proj": torch.full((32, 12), float("nan"))}
    torch.save(state, tmp_path / "nan.pt")
    with pytest.raises(UsageError, match=r"not finite; got visual_projection\.weight"):
        encoder().open("cpu", tmp_path / "nan.pt")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


@pytest.mark.parametrize("script", [True, False], ids=["archive", "state dict"])
def test_code_in_a_file_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], script: bool) -> None:
    path = tmp_path / "evil.pt"
    if script:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("evil/code/__torch__.py", "")
            archive.writestr("evil/data.pkl", pickle.dumps(Evil(), protocol=2))
    else:
        torch.save({"visual.proj": Evil()}, path)
    with pytest.raises(UsageError, match="not a readable"):
        read_openai(path)
    assert capsys.readouterr().out == ""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_packed_or_damaged_archive_is_refused(tmp_path: Path, original: OpenAiClip) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "sound.pt"))
    assert sorted(read_openai(tmp_path / "sound.pt")) == ["bias", "weight"]
    with zipfile.ZipFile(tmp_path / "sound.pt") as sound, zipfile.ZipFile(tmp_path / "packed.pt", "w", 8) as packed:
        for name in sound.namelist():
            packed.writestr(name, sound.read(name))
    with pytest.raises(UsageError, match="not a readable TorchScript"):
        read_openai(tmp_path / "packed.pt")
    (tmp_path / "page.pt").write_text("<html>")
    with pytest.raises(UsageError, match="not a readable file of weights"):
        read_openai(tmp_path / "page.pt")
