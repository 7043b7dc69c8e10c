"""Every registered plug-in, ours and a stranger's, satisfies its contract. A new plug-in needs no new test file."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from robench import cli, registry, testing
from robench.errors import EnvironmentNotReady, RobenchError, UsageError

WITHOUT_WEIGHTS = {"pifu", "pifu-clip-add", "pifu-clip-concat", "pifu-experts", "pifuhd"}
"""Models that run on the user's checkpoint: without one they must say what they need."""


def names(kind: registry.Kind) -> list[str]:
    return list(registry.entries(kind))


def ours(model: str) -> bool:
    return registry.entries("models")[model].point.value.startswith("baselines.")


@pytest.mark.parametrize("kind", registry.KINDS)
def test_there_are_plugins_and_each_carries_its_own_name(kind: registry.Kind) -> None:
    found = registry.survey(kind)
    assert found
    for status in found:
        assert status.card is not None, status.error
        # A clash is named package/name by the registry, and only there.
        assert status.card.name == status.entry.point.name


@pytest.mark.parametrize("kind", registry.KINDS)
def test_two_loads_share_no_state(kind: registry.Kind) -> None:
    for name in names(kind):
        assert registry.load(kind, name) is not registry.load(kind, name)


@pytest.mark.parametrize("name", names("corruptions"))
def test_corruption(name: str) -> None:
    testing.check_corruption(registry.load("corruptions", name))


@pytest.mark.parametrize("name", names("metrics"))
def test_metric(name: str) -> None:
    testing.check_metric(registry.load("metrics", name))


@pytest.mark.parametrize("name", names("maskers"))
def test_masker(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    masker = registry.load("maskers", name)
    if masker.card.extra.get("source") == "predicted" and name != "u2netp-anny":
        # Its weights do not come with robench: it must say so, and must not fetch them.
        monkeypatch.setenv("ROBENCH_WEIGHTS", str(tmp_path))
        monkeypatch.setenv("U2NET_HOME", str(tmp_path))
        monkeypatch.setenv("HOME", str(tmp_path))
        testing.check_card(masker.card)
        with pytest.raises(EnvironmentNotReady, match=re.escape(name)) as caught:
            masker.open("cpu")
        assert f"robench fetch weights {name}" in str(caught.value)
        assert not list(tmp_path.rglob("*.onnx"))
        return
    testing.check_masker(masker)


@pytest.mark.parametrize("name", names("encoders"))
def test_encoder(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    encoder = registry.load("encoders", name)
    if "parameters" in encoder.card.extra and encoder.card.extra["parameters"] > 10**7:
        # Its weights do not come with robench: it must say so, and must not fetch them.
        monkeypatch.setenv("ROBENCH_WEIGHTS", str(tmp_path))
        monkeypatch.setattr("robench.io.weights.hub_cache", lambda repository: None)
        testing.check_card(encoder.card)
        with pytest.raises(EnvironmentNotReady, match=f"{re.escape(name)}.*hf download"):
            encoder.open("cpu")
        return
    testing.check_encoder(encoder)


@pytest.mark.parametrize("name", names("models"))
def test_model(name: str) -> None:
    model = registry.load("models", name)
    if name in WITHOUT_WEIGHTS:
        testing.check_model_card(model.card)
        with pytest.raises((UsageError, EnvironmentNotReady)) as caught:
            model.open("cpu")
        assert name in str(caught.value)
        return
    testing.check_model(model)


@pytest.mark.parametrize("name", names("models"))
def test_a_card_says_which_verbs_work_and_the_others_say_that_they_do_not(name: str, tmp_path: Path) -> None:
    model = registry.load("models", name)
    out = ["--data", "nowhere", "--out", str(tmp_path / "out")]
    for says, verb, words in (
        ("trainable", "train", [name, "--config", "none.yaml"]),
        ("adaptable", "adapt", ["--model", name, "-c", "fog"]),
        ("refinable", "refine", ["--model", name, "--prior", "tiny-random"]),
    ):
        assert model.card.extra.get(says) in ((True, False) if ours(name) else (True, False, None))
        assert bool(model.card.extra.get(says)) is hasattr(model, verb)
        if not hasattr(model, verb):
            done = CliRunner().invoke(cli.app, [verb, *words, *out])
            assert isinstance(done.exception, UsageError)
            assert re.search(rf"'{name}' (cannot|has no).*; expected .*pifu-mini", str(done.exception))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", names("models"))
def test_a_checkpoint_that_is_none_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    model = registry.load("models", name)
    for file in (tmp_path / "missing.pt", tmp_path / "page.safetensors", tmp_path / "page.pth"):
        if file.stem == "page":
            file.write_text("<html>not found</html>")
        with pytest.raises(RobenchError) as caught:
            model.open("cpu", file)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [*names("models"), *names("maskers")])
def test_a_device_that_does_not_exist_is_refused_or_not_used(name: str) -> None:
    kind: registry.Kind = "models" if name in names("models") else "maskers"
    plugin: Any = registry.load(kind, name)
    try:
        opened = plugin.open("quantum")
    except RobenchError:
        return
    used = opened if isinstance(opened, str) else opened.device
    assert testing.DEVICE.fullmatch(used)


@pytest.mark.parametrize("name", names("datasets"))
def test_dataset(name: str, tmp_path: Path, dataset_roots: dict[str, Path]) -> None:
    testing.check_dataset(registry.load("datasets", name), dataset_roots[name], tmp_path)


@pytest.fixture(scope="module")
def dataset_roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small sound data set for every reader."""
    from PIL import Image

    from robench.data.manifest import write_manifest

    root = tmp_path_factory.mktemp("datasets")
    pictures = root / "folder"
    pictures.mkdir()
    for i, shape in enumerate([(64, 64), (96, 80)]):
        Image.fromarray(testing.example_image(shape)).save(pictures / f"person_{i}.png")
    found = {"folder": pictures, **_rendered(root)}
    for path in (found["folder"], found["pifu-render"]):
        write_manifest(path)
    return found


def _rendered(root: Path) -> dict[str, Path]:
    """Make a data set of rendered people, and the same in PIFu's layout."""
    import cv2
    import numpy as np

    from robench.data.anny_humans import synthesise
    from robench.io.meshes import read_mesh

    people, layout = root / "people", root / "layout"
    synthesise(people, subjects=1, views=(0.0, 90.0), size=128, seed=0, split="test")
    reader = registry.load("datasets", "anny-humans")
    for sample in reader.samples(people):
        subject, view = sample.subject_id, f"{sample.view:.0f}_0_00"
        for part in ("RENDER", "MASK", "PARAM", "GEO/OBJ"):
            (layout / part / subject).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(layout / "RENDER" / subject / f"{view}.jpg"), cv2.imread(str(sample.image)))
        shutil.copy(sample.mask, layout / "MASK" / subject / f"{view}.png")
        c, s = np.cos(np.deg2rad(sample.view)), np.sin(np.deg2rad(sample.view))
        turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        facts = {"ortho_ratio": 1.6, "scale": 1.0, "center": np.zeros(3), "R": turn}
        np.save(layout / "PARAM" / subject / f"{view}.npy", facts, allow_pickle=True)
        mesh = read_mesh(sample.mesh)
        lines = [f"v {x} {y} {z}" for x, y, z in mesh.vertices] + [f"f {a} {b} {c}" for a, b, c in mesh.faces + 1]
        (layout / "GEO" / "OBJ" / subject / f"{subject}_100k.obj").write_text("\n".join(lines) + "\n")
    (layout / "val.txt").write_text("")
    return {"anny-humans": people, "pifu-render": layout}
