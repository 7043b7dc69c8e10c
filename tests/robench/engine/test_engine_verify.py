"""A set on disk: complete for a stranger, and every file held to its record."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import trimesh
from PIL import Image

from robench.engine.cset import MANIFEST
from robench.engine.cset_index import INDEX, JOURNAL
from robench.engine.cset_writer import write_set
from robench.engine.recipes import custom_recipe
from robench.engine.selection import select
from robench.engine.verify import sets_in, verify_set
from robench.errors import UsageError
from robench.masking.carry import carried_depth


@pytest.fixture
def folder(people: Path, tmp_path: Path, plugins) -> Path:
    recipe = custom_recipe(["foggy", "side_step"], [1, 3])
    return write_set(select(people), recipe, 0, tmp_path / "csets", quiet=True).folder


def found(folder: Path) -> set[tuple[str, str]]:
    return {(d.kind, d.path) for d in verify_set(folder).differences}


def test_a_sound_set_is_sound(folder: Path) -> None:
    verdict = verify_set(folder)
    assert verdict.differences == ()
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert verdict.files == len(files) - 1, "every file but the declaration of the unit was hashed"


@pytest.mark.parametrize("kind", ["images", "masks/true", "depth"])
def test_every_missing_extra_and_changed_file_is_named(folder: Path, kind: str) -> None:
    name = f"{kind}/side_step/1/s0_0.png"
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    (folder / kind / "side_step/3/s1_0.png").unlink()
    (folder / kind / "notes.txt").write_text("x")
    assert found(folder) == {
        ("changed", name),
        ("missing", f"{kind}/side_step/3/s1_0.png"),
        ("extra", f"{kind}/notes.txt"),
    }


def test_changed_records_are_named(folder: Path, tmp_path: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"seed": 9}))
    assert found(folder) == {("changed", MANIFEST)}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert found(folder) == set(), "the same content in other words is the same"
    table = pd.read_parquet(folder / INDEX)
    table.loc[0, "severity"] = 4
    table.to_parquet(folder / INDEX)
    assert ("changed", INDEX) in found(folder)
    (folder / INDEX).write_bytes(b"junk")
    assert ("changed", INDEX) in found(folder)
    (folder / INDEX).unlink()
    assert ("missing", INDEX) in found(folder)
    (folder / MANIFEST).write_text("{")
    assert found(folder) == {("changed", MANIFEST)}
    (folder / MANIFEST).unlink()
    assert found(folder) == {("missing", MANIFEST)}


def test_a_record_that_leads_out_of_the_set_is_a_difference(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"depth": {"files": 7}}))
    assert ("changed", MANIFEST) in found(folder)


def test_an_unfinished_set_says_how_to_finish(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"complete": False, "command": "robench corrupt a b"}))
    (difference,) = verify_set(folder).differences
    assert (difference.kind, "robench corrupt a b" in difference.detail) == ("unfinished", True)


def test_masks_of_a_masker_are_verified_too(folder: Path) -> None:
    home = folder / "masks" / "finder-12345678"
    home.mkdir(parents=True)
    (home / "a.png").write_bytes(b"a")
    entry = {"path": "a.png", "sha256": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"}
    (home / "masks.json").write_text(json.dumps({"masks": {"images/x.png": entry}}))
    assert found(folder) == set()
    (home / "a.png").write_bytes(b"b")
    assert found(folder) == {("changed", "masks/finder-12345678/a.png")}


def test_sets_are_found_in_their_parent(folder: Path, tmp_path: Path) -> None:
    assert sets_in(folder) == [folder]
    assert sets_in(folder.parent) == [folder]
    with pytest.raises(UsageError, match="no corrupted set"):
        sets_in(tmp_path / "people")
    with pytest.raises(UsageError, match="no folder"):
        sets_in(tmp_path / "nowhere")


# What a stranger reads, with pandas, Pillow and OpenCV alone.


def test_a_stranger_can_use_the_set(folder: Path, people: Path) -> None:
    table = pd.read_parquet(folder / "index.parquet")
    manifest = json.loads((folder / "manifest.json").read_text())
    root = (folder / manifest["dataset"]["root"]).resolve()
    assert len(table) == 15
    clean = table[table.corruption == "clean"].set_index("sample_id")
    for row in table.itertuples():
        mask = np.asarray(Image.open(folder / row.mask_path))
        depth = cv2.imread(str(folder / row.depth_path), cv2.IMREAD_UNCHANGED)
        assert mask.shape == depth.shape == (row.height, row.width)
        assert (root / row.source).is_file()
        assert (root / row.mesh).is_file()
        camera = json.loads(row.camera)
        assert (camera["width"], camera["height"], row.camera_source) == (48, 48, "given")
        truth = np.asarray(Image.open(folder / clean.loc[row.sample_id].mask_path))
        there = depth > 0
        assert set(np.unique(depth[there])) == {3000}, "millimetres"
        if row.corruption == "side_step":
            affine = np.array(json.loads(row.affine))
            step = int(affine[0, 2])
            assert row.mask_path == f"masks/true/side_step/{row.severity}/{row.sample_id}.png"
            assert np.array_equal(mask[:, step:], truth[:, :-step])
            assert np.array_equal(there[:, step:], truth[:, :-step] > 127)
            assert not there[:, :step].any()
            assert camera["centre"][0] == pytest.approx((48 - 1) / 2 + step)
        else:
            assert row.mask_path == f"masks/true/clean/0/{row.sample_id}.png", "what did not move is stored once"
    assert json.loads((folder / "depth" / "depth.json").read_text()) == {"unit": "mm"}


def test_the_page_of_sets_shows_how_the_truth_falls_on_the_mask(folder: Path, monkeypatch) -> None:
    """The page's own code, run on every row that it might pick, without a line of robench."""
    page = Path(__file__).resolve().parents[3] / "docs" / "corrupted-sets.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.S)
    assert "robench" not in code
    monkeypatch.chdir(folder)
    root = (folder / json.loads(Path(MANIFEST).read_text())["dataset"]["root"]).resolve()
    table = pd.read_parquet(INDEX)
    for number, row in enumerate(table.itertuples()):
        seen = {"X": np.asarray(trimesh.load(root / row.mesh, process=False).vertices)}
        exec(code.replace("iloc[7]", f"iloc[{number}]"), seen)
        mask = np.asarray(Image.open(row.mask_path)) > 127
        rows, columns = np.nonzero(mask)
        for pixels, found, side in ((seen["u"], columns, row.width), (seen["v"], rows, row.height)):
            assert max(pixels.min(), 0) == pytest.approx(found.min(), abs=1.5)
            assert min(pixels.max(), side - 1) == pytest.approx(found.max(), abs=1.5)


def test_depth_is_moved_without_inventing_distances() -> None:
    depth = np.full((64, 64), np.inf, np.float32)
    depth[20:44, 20:44] = 2.5
    depth[30:34, 30:34] = 7.0
    turn = cv2.getRotationMatrix2D((31.5, 31.5), 30, 1.3)
    moved = carried_depth(depth, turn)
    assert set(np.unique(moved)) == {np.float32(2.5), np.float32(7.0), np.float32(np.inf)}
    grown = np.isfinite(moved).sum() / np.isfinite(depth).sum()
    assert grown == pytest.approx(1.3**2, rel=0.03)
    assert np.array_equal(carried_depth(depth, np.eye(2, 3)), depth)


def test_a_set_without_masks_and_depth_says_so(make_people, tmp_path: Path, plugins) -> None:
    people = make_people(mask=False, depth=False, mesh=False)
    (people / "cameras.json").unlink()
    report = write_set(select(people), custom_recipe(["darker"], [1]), 0, tmp_path / "csets", quiet=True)
    table = pd.read_parquet(report.folder / INDEX)
    for column in ("mask_path", "mask_sha256", "depth_path", "depth_sha256", "depth_source", "mesh"):
        assert table[column].isna().all(), column
    assert set(table.camera_source) == {"assumed"}
    assert {p.name for p in report.folder.iterdir()} == {"images", INDEX, MANIFEST}
    assert verify_set(report.folder).differences == ()


def test_depth_that_nobody_needs_and_nobody_can_read_stops_nobody(people: Path, tmp_path: Path, plugins) -> None:
    (people / "depth" / "s0_0.npz").write_bytes(b"junk")
    report = write_set(select(people), custom_recipe(["darker"], [1]), 0, tmp_path / "csets", quiet=True)
    assert report.failed == []
    rows = pd.read_parquet(report.folder / INDEX).set_index("sample_id")
    assert rows.loc["s0_0"].depth_source.str.startswith("unreadable: s0_0.npz").all()
    assert rows.loc["s0_0"].depth_path.isna().all()
    assert (rows.loc["s1_0"].depth_source == "given").all()


@pytest.mark.parametrize("kind", ["masks/true", "depth"])
def test_companions_that_are_lost_are_made_again(folder: Path, people: Path, kind: str) -> None:
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    (folder / kind / "clean/0/s0_0.png").unlink()
    (folder / kind / "side_step/1/s1_0.png").write_bytes(b"junk")
    (folder / ".tmp-0123-left-by-a-kill").write_bytes(b"half")
    recipe = custom_recipe(["foggy", "side_step"], [1, 3])
    again = write_set(select(people), recipe, 0, folder.parent, quiet=True)
    assert again.made == 4, "the rows that name the lost mask, and the one of the damaged"
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert not (folder / JOURNAL).exists()
