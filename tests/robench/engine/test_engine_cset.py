"""Corrupted sets: the same bytes whoever makes them, resumable, replayable, honest about what is missing."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from robench.engine import set_maker, set_pool
from robench.engine.cells import Inputs, plan_cells
from robench.engine.cset import MANIFEST, open_set, replay
from robench.engine.cset_index import INDEX, JOURNAL, read_index
from robench.engine.cset_writer import plan_set, write_set
from robench.engine.recipes import custom_recipe
from robench.engine.selection import select
from robench.errors import EnvironmentNotReady, Mismatch, NotComparable, UsageError
from robench.io.files import sha256_file
from robench.io.images import pixels_sha256, read_image


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def make(people: Path, out: Path, corruptions=("darker", "side_step"), severities=(1, 3), seed: int = 0, **kwargs):
    return write_set(select(people), custom_recipe(list(corruptions), severities), seed, out, quiet=True, **kwargs)


def test_layout_and_manifest(people: Path, tmp_path: Path, plugins, read_manifest) -> None:
    report = make(people, tmp_path / "csets")
    assert (report.images, report.made, report.failed, report.left_out) == (15, 15, [], 0)
    manifest = read_manifest(report.folder)
    assert report.folder.name == f"people-custom-{manifest['cset_id'][:8]}"
    assert set(content(report.folder)) == {
        MANIFEST,
        INDEX,
        *(f"images/clean/0/s{s}_0.png" for s in range(3)),
        *(f"images/{c}/{n}/s{s}_0.png" for c in ("darker", "side_step") for n in (1, 3) for s in range(3)),
        "depth/depth.json",
        *(f"{kind}/clean/0/s{s}_0.png" for kind in ("masks/true", "depth") for s in range(3)),
        *(f"{k}/side_step/{n}/s{s}_0.png" for k in ("masks/true", "depth") for n in (1, 3) for s in range(3)),
    }
    assert manifest["complete"]
    assert manifest["dataset"]["root"] == "../../people"
    assert "tmp" not in json.dumps(manifest), "no absolute path is published"
    rows = read_index(report.folder / INDEX)
    moved = next(row for row in rows if row["corruption"] == "side_step" and row["severity"] == 3)
    assert json.loads(moved["affine"]) == [[1, 0, 3], [0, 1, 0]]
    assert json.loads(moved["params"]) == {"px": 3}
    assert moved["file_sha256"] == sha256_file(report.folder / moved["path"])
    assert moved["source_sha256"] == sha256_file(people / "images" / "s0_0.png")


def test_processes_do_not_change_a_byte(people: Path, tmp_path: Path) -> None:
    # Installed corruptions: a worker process knows nothing of a test's plug-ins.
    one = make(people, tmp_path / "one", ("iso_noise", "camera_roll"), (2,))
    two = make(people, tmp_path / "two", ("iso_noise", "camera_roll"), (2,), jobs=2)
    assert content(one.folder) == content(two.folder)
    assert one.images == 9


def test_seed_data_and_recipe_name_the_set(people: Path, tmp_path: Path, plugins) -> None:
    def name(seed: int = 0, severities=(1,), limit: int | None = None) -> str:
        return plan_set(select(people, limit=limit), custom_recipe(["darker"], severities), seed, tmp_path).folder.name

    assert name() == name()
    assert len({name(), name(seed=1), name(severities=(2,)), name(limit=2)}) == 4
    before = name()
    (people / "images" / "s0_0.png").write_bytes((people / "images" / "s1_0.png").read_bytes())
    assert name() != before


def test_seed_changes_pictures_but_not_clean_ones(people: Path, tmp_path: Path, plugins) -> None:
    one, other = (open_set(make(people, tmp_path / "csets", seed=seed).folder) for seed in (0, 1))
    key = ("s0_0", "darker", 1)
    assert one.rows[key]["pixels_sha256"] != other.rows[key]["pixels_sha256"]
    clean = ("s0_0", "clean", 0)
    assert one.rows[clean]["pixels_sha256"] == other.rows[clean]["pixels_sha256"]


def test_every_row_replays(people: Path, tmp_path: Path, plugins) -> None:
    cset = open_set(make(people, tmp_path / "csets", ("darker", "side_step", "iso_noise", "fog_3d")).folder)
    samples = {sample.sample_id: Inputs(sample) for sample in cset.select().samples}
    for (sample_id, _, _), row in cset.rows.items():
        inputs = samples[sample_id]
        again = replay(row, inputs.image, inputs.depth, inputs.mask)
        assert np.array_equal(again, read_image(cset.folder / row["path"])), row["path"]
        assert pixels_sha256(again) == row["pixels_sha256"]


def test_replay_refuses_another_version(people: Path, tmp_path: Path, plugins) -> None:
    cset = open_set(make(people, tmp_path / "csets").folder)
    row = dict(cset.rows["s0_0", "darker", 1]) | {"corruption_version": "0.9"}
    with pytest.raises(NotComparable, match=r"got 1; expected 0\.9"):
        replay(row, np.zeros((48, 48, 3), np.uint8))


def test_rerun_makes_only_what_is_missing_or_damaged(people: Path, tmp_path: Path, plugins) -> None:
    report = make(people, tmp_path / "csets")
    before = content(report.folder)
    (report.folder / "images/darker/1/s0_0.png").unlink()
    (report.folder / "images/clean/0/s1_0.png").write_bytes(b"damaged")
    again = make(people, tmp_path / "csets")
    assert (again.made, again.images) == (2, 15)
    assert content(report.folder) == before
    assert make(people, tmp_path / "csets").made == 0
    assert make(people, tmp_path / "csets", fresh=True).made == 15
    assert content(report.folder) == before


@pytest.mark.parametrize("half_line", [False, True])
def test_interrupted_work_is_kept(people: Path, tmp_path: Path, plugins, monkeypatch, half_line: bool) -> None:
    whole = content(make(people, tmp_path / "whole").folder)
    writes = 0

    def stopping(path, data, real=set_maker.write_bytes_atomic, **how):
        nonlocal writes
        if "images" in path.parts:
            writes += 1
            if writes == 8:
                raise KeyboardInterrupt
        return real(path, data, **how)

    monkeypatch.setattr(set_maker, "write_bytes_atomic", stopping)
    with pytest.raises(KeyboardInterrupt):
        make(people, tmp_path / "csets")
    folder = next((tmp_path / "csets").iterdir())
    with pytest.raises(UsageError, match=r"not finished.*robench corrupt"):
        open_set(folder)
    if half_line:
        data = (folder / JOURNAL).read_bytes()
        (folder / JOURNAL).write_bytes(data[:-20])
    again = make(people, tmp_path / "csets")
    assert again.made == (15 - 7) + half_line
    assert content(folder) == whole


def test_interrupted_processes_hand_over_what_they_finished(people: Path, tmp_path: Path, monkeypatch) -> None:
    real, calls = set_pool.wait, 0

    def interrupted(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(set_pool, "wait", interrupted)
    corruptions = ("iso_noise", "color_quant")
    with pytest.raises(KeyboardInterrupt):
        make(people, tmp_path / "csets", corruptions, (1, 2, 3, 4, 5), jobs=2)
    folder = next((tmp_path / "csets").iterdir())
    stored = len(list((folder / "images").rglob("*.png")))
    assert 0 < stored < 33
    again = make(people, tmp_path / "csets", corruptions, (1, 2, 3, 4, 5))
    assert again.made == 33 - stored, "every finished picture was recorded"


@pytest.mark.parametrize(("number", "says"), [(errno.ENOSPC, "full"), (errno.EROFS, "read-only")])
def test_full_and_read_only_disk(people: Path, tmp_path: Path, plugins, monkeypatch, number: int, says: str) -> None:
    from robench.io import files

    real = files.os.replace
    count = 0

    def replace(source, target):
        nonlocal count
        count += "/images/" in str(target)
        if count > 5:
            raise OSError(number, "refused", str(target))
        real(source, target)

    monkeypatch.setattr(files.os, "replace", replace)
    with pytest.raises(EnvironmentNotReady, match=says):
        make(people, tmp_path / "csets")
    monkeypatch.setattr(files.os, "replace", real)
    again = make(people, tmp_path / "csets")
    assert (again.made, again.images) == (10, 15)
    assert not [p for p in again.folder.rglob("*") if p.name.startswith(".tmp-")]


def test_bad_picture_is_a_failure_and_no_end(people: Path, tmp_path: Path, plugins, read_manifest) -> None:
    (people / "images" / "s1_0.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    report = make(people, tmp_path / "csets")
    assert report.images == 10
    assert len(report.failed) == 5
    assert {f["sample_id"] for f in report.failed} == {"s1_0"}
    assert "s1_0.png" in report.failed[0]["message"]
    assert len(read_manifest(report.folder)["failed"]) == 5


def test_needs_depth(make_people, tmp_path: Path, plugins) -> None:
    people = make_people()
    (people / "depth" / "s2_0.npz").unlink()
    (people / "meshes" / "s2_0.ply").unlink()
    with pytest.raises(UsageError, match="1 of 3 samples"):
        make(people, tmp_path / "csets", ("foggy",))
    assert not (tmp_path / "csets").exists(), "nothing was begun"
    report = make(people, tmp_path / "csets", ("foggy",), skip_unable=True)
    assert (report.images, report.left_out) == (7, 2)


def test_pictures_read_back_as_made(people: Path, tmp_path: Path, plugins) -> None:
    from robench.engine.cells import OnTheFly

    cset = open_set(make(people, tmp_path / "csets").folder)
    source = OnTheFly(0)
    for cell in plan_cells(cset.select().samples, cset.recipe):
        stored, made = cset.picture(cell), source.picture(cell)
        assert np.array_equal(stored.image, made.image)
        assert np.array_equal(stored.true_mask, made.true_mask)
        assert stored.camera.centre == made.camera.centre
        assert stored.params == made.params


def test_changed_picture_is_a_mismatch(people: Path, tmp_path: Path, plugins) -> None:
    cset = open_set(make(people, tmp_path / "csets").folder)
    cells = list(plan_cells(cset.select().samples, cset.recipe))
    a, b = (cset.folder / cset.rows[cell.key]["path"] for cell in cells[:2])
    a.write_bytes(b.read_bytes())
    with pytest.raises(Mismatch, match=r"other pixels.*again"):
        cset.picture(cells[0])
    a.unlink()
    with pytest.raises(Mismatch, match="damaged"):
        cset.picture(cells[0])


def test_changed_index_and_data_are_noticed(people: Path, tmp_path: Path, plugins) -> None:
    folder = make(people, tmp_path / "csets").folder
    other = make(people, tmp_path / "csets", seed=5).folder
    (people / "images" / "s0_0.png").write_bytes((people / "images" / "s1_0.png").read_bytes())
    with pytest.raises(NotComparable, match="not what"):
        open_set(folder).select()
    people.rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="--data"):
        open_set(folder).select()
    (folder / INDEX).write_bytes((other / INDEX).read_bytes())
    with pytest.raises(Mismatch, match="not the one of its manifest"):
        open_set(folder)
    (folder / INDEX).write_bytes(b"junk")
    with pytest.raises(Mismatch, match="damaged"):
        open_set(folder)


def test_moved_data_is_found_with_data(people: Path, tmp_path: Path, plugins) -> None:
    cset = open_set(make(people, tmp_path / "csets").folder)
    moved = people.rename(tmp_path / "elsewhere")
    assert len(cset.select(moved).samples) == 3


@pytest.mark.parametrize("manifest", [None, {"files": {}}])
def test_not_a_set(tmp_path: Path, manifest: dict | None) -> None:
    if manifest is not None:
        (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="not a corrupted set"):
        open_set(tmp_path)


def test_another_layout(people: Path, tmp_path: Path, plugins, read_manifest) -> None:
    folder = make(people, tmp_path / "csets").folder
    (folder / MANIFEST).write_text(json.dumps(read_manifest(folder) | {"format": 99}))
    with pytest.raises(NotComparable, match="format 99"):
        open_set(folder)


def test_two_writers_do_not_meet(people: Path, tmp_path: Path, plugins) -> None:
    from robench.engine.journal import only_writer

    report = make(people, tmp_path / "csets")
    with only_writer(report.folder, "the set"), pytest.raises(UsageError, match="Another robench"):
        make(people, tmp_path / "csets")


def test_index_cannot_lead_out_of_the_folder(people: Path, tmp_path: Path, plugins) -> None:
    cset = open_set(make(people, tmp_path / "csets").folder)
    cell = next(plan_cells(cset.select().samples, cset.recipe))
    cset.rows[cell.key]["path"] = "../../people/images/s0_0.png"  # type: ignore[index]
    with pytest.raises(UsageError, match="leaves its folder"):
        cset.picture(cell)
