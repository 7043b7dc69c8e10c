from __future__ import annotations

import json
import re
import time
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh
from PIL import Image

from robench.contracts import Camera, Mesh
from robench.data.folder import PERSON_CM, Folder, default_camera
from robench.data.ids import natural_key, safe_id
from robench.data.splits import write_splits
from robench.errors import UsageError
from robench.io._png import encode_png
from robench.io.depth import read_depth, write_depth, write_normals
from robench.io.images import read_mask, write_mask, write_png
from robench.io.meshes import write_mesh

FOLDER = Folder()


def picture(path, height=60, width=40):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, np.full((height, width, 3), 90, np.uint8))


def person(height=60, width=40):
    mask = np.zeros((height, width), np.float32)
    mask[10:44, 5:16] = 1
    return mask


def ball():
    sphere = trimesh.creation.icosphere(2, radius=80)
    return Mesh(sphere.vertices.astype(np.float32), sphere.faces.astype(np.int32))


def test_order_is_natural_and_ids_are_stems(tmp_path):
    for name in ("x10", "x2", "x1", "a"):
        picture(tmp_path / f"{name}.png")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".tmp-1-x3.png").write_bytes(b"half")
    samples = list(FOLDER.samples(tmp_path))
    assert [s.sample_id for s in samples] == [s.subject_id for s in samples] == ["a", "x1", "x2", "x10"]
    assert FOLDER.accepts(tmp_path)


def test_companions_beside_the_picture(tmp_path):
    picture(tmp_path / "p.jpg")
    write_mask(tmp_path / "p_mask.png", person())
    write_depth(tmp_path / "p_depth.npz", np.ones((60, 40)))
    write_normals(tmp_path / "p_normals.png", np.zeros((60, 40, 3)))
    write_mesh(tmp_path / "p.ply", ball())
    (tmp_path / "cameras.json").write_text(json.dumps({"p": default_camera(60, 40).to_json()}))
    picture(tmp_path / "gas_mask.png")
    picture(tmp_path / "p_mesh.png")
    lonely, full, other = FOLDER.samples(tmp_path)
    assert other.sample_id == "p_mesh", "no picture is a mesh"
    assert (lonely.sample_id, lonely.mask, lonely.mesh) == ("gas_mask", None, None)
    found = [full.mask, full.depth, full.normals, full.mesh]
    assert [p.name for p in found] == ["p_mask.png", "p_depth.npz", "p_normals.png", "p.ply"]


def test_companions_in_subfolders(tmp_path):
    picture(tmp_path / "images" / "p.png")
    for name in ("masks", "depth", "normals", "meshes"):
        (tmp_path / name).mkdir()
    write_mask(tmp_path / "masks" / "p.png", person())
    write_depth(tmp_path / "depth" / "p.npz", np.ones((60, 40)))
    write_normals(tmp_path / "normals" / "p.png", np.zeros((60, 40, 3)))
    write_mesh(tmp_path / "meshes" / "p.ply.gz", ball())
    (tmp_path / "cameras.json").write_text(json.dumps({"p": default_camera(60, 40).to_json()}))
    (sample,) = FOLDER.samples(tmp_path)
    relative = [p.relative_to(tmp_path).as_posix() for p in (sample.mask, sample.depth, sample.normals, sample.mesh)]
    assert relative == ["masks/p.png", "depth/p.npz", "normals/p.png", "meshes/p.ply.gz"]


def test_a_mesh_without_a_camera_is_no_truth(tmp_path):
    picture(tmp_path / "p.png")
    write_mesh(tmp_path / "p.ply", ball())
    (sample,) = FOLDER.samples(tmp_path)
    assert (sample.mesh, sample.camera.kind) == (None, "orthographic")
    (problem,) = FOLDER.verify(tmp_path)
    assert (problem.path.name, problem.message) == ("p.ply", "is not used: its picture has no camera in cameras.json")


def test_the_default_camera_makes_the_masks_box_170_cm(tmp_path):
    camera = default_camera(60, 40, person())
    head, feet = camera.project(np.array([[0, PERSON_CM / 2, 0], [0, -PERSON_CM / 2, 0]]))[:, :2]
    # Rows 10..43 of the mask are covered: their outer edges are 9.5 and 43.5; columns 5..15 have their middle at 10.
    np.testing.assert_allclose([head, feet], [[10, 9.5], [10, 43.5]])
    whole = default_camera(60, 40)
    np.testing.assert_allclose(whole.project(np.array([[0, 85.0, 0], [0, -85.0, 0]]))[:, 1], [-0.5, 59.5])
    assert default_camera(60, 40, np.zeros((60, 40), np.float32)).to_json() == whole.to_json()
    picture(tmp_path / "p.png")
    write_mask(tmp_path / "p_mask.png", person())
    (sample,) = FOLDER.samples(tmp_path)
    assert sample.camera.to_json() == camera.to_json()


def test_a_cut_out_is_its_own_mask(tmp_path):
    rgba = np.dstack([np.full((60, 40, 3), 90), person() * 255]).astype(np.uint8)
    Image.fromarray(rgba).save(tmp_path / "cut.png")
    Image.fromarray(np.dstack([rgba[..., :3], np.full((60, 40), 255, np.uint8)])).save(tmp_path / "opaque.png")
    cut, opaque = FOLDER.samples(tmp_path)
    assert cut.mask == cut.image
    np.testing.assert_array_equal(read_mask(cut.mask), person())
    assert cut.camera.to_json() == default_camera(60, 40, person()).to_json()
    assert opaque.mask is None


def test_cameras_subjects_and_views_from_the_table(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    camera = Camera(np.eye(4), 700.0, (19.5, 29.5), 40, 60, 300.0, "pinhole")
    table = {"a": {**camera.to_json(), "subject": "anna", "view": 30}, "b": {"subject": "anna"}}
    (tmp_path / "cameras.json").write_text(json.dumps(table))
    a, b = FOLDER.samples(tmp_path)
    assert a.camera.to_json() == camera.to_json()
    assert (a.subject_id, a.view, b.subject_id, b.view) == ("anna", 30.0, "anna", 0.0)
    assert b.camera.kind == "orthographic"
    for wrong in ('{"a": {"scale": 1}}', '{"a": 3}', "[]", '{"a": {"view": "left"}}', "{"):
        (tmp_path / "cameras.json").write_text(wrong)
        with pytest.raises(UsageError, match=r"cameras\.json"):
            list(FOLDER.samples(tmp_path))
        assert FOLDER.verify(tmp_path)


def test_splits_choose_by_subject(tmp_path):
    for name in "abc":
        picture(tmp_path / f"{name}.png")
    write_splits(tmp_path, {"train": ["c"], "test": ["b", "a"]})
    assert [s.sample_id for s in FOLDER.samples(tmp_path, "test")] == ["a", "b"]
    assert FOLDER.verify(tmp_path) == []
    with pytest.raises(UsageError, match="no split 'val'"):
        list(FOLDER.samples(tmp_path, "val"))


def test_ambiguity_is_refused(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "a.bmp").write_bytes((tmp_path / "a.png").read_bytes())
    with pytest.raises(UsageError, match=r"a\.bmp and a\.png"):
        list(FOLDER.samples(tmp_path))
    (tmp_path / "a.bmp").unlink()
    write_mask(tmp_path / "a_mask.png", person())
    (tmp_path / "masks").mkdir()
    write_mask(tmp_path / "masks" / "a.png", person())
    with pytest.raises(UsageError, match="two files of kind mask"):
        list(FOLDER.samples(tmp_path))


def test_no_picture_is_told(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    assert not FOLDER.accepts(tmp_path)
    with pytest.raises(UsageError, match="no picture"):
        list(FOLDER.samples(tmp_path))


def test_a_bad_picture_is_a_sample_without_camera_and_stops_nobody(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    (tmp_path / "c.png").write_bytes(b"<html>")
    picture(tmp_path / "d.png")
    (tmp_path / "d_mask.png").write_bytes(b"junk")
    a, b, c, d = FOLDER.samples(tmp_path)
    assert a.camera is not None
    assert b.camera is None
    assert c.camera is None
    assert d.camera.to_json() == default_camera(60, 40).to_json()
    problems = {p.path.name: p.message for p in FOLDER.verify(tmp_path)}
    assert set(problems) == {"b.png", "c.png", "d_mask.png"}
    assert "empty" in problems["b.png"]


def test_verify_names_everything_unsound(tmp_path):
    picture(tmp_path / "a.png")
    write_mask(tmp_path / "a_mask.png", person(40, 60))
    write_depth(tmp_path / "a_depth.npz", np.ones((30, 30)))
    write_mesh(tmp_path / "a.ply", ball())
    picture(tmp_path / "b.png")
    picture(tmp_path / "c.png")
    write_mesh(tmp_path / "c.ply", Mesh(ball().vertices, ball().faces[1:]))
    write_png(tmp_path / "b_mask.png", person().astype(np.uint8))
    write_mesh(tmp_path / "b.ply", Mesh(ball().vertices, ball().faces[:0]))
    (tmp_path / "masks").mkdir()
    write_mask(tmp_path / "masks" / "ghost.png", person())
    table = {"b": Camera(np.eye(4), 1.0, (0.0, 0.0), 9, 9).to_json(), "ghost": {}}
    table["c"] = default_camera(60, 40).to_json()
    (tmp_path / "cameras.json").write_text(json.dumps(table))
    found = [(p.path.name, p.message) for p in FOLDER.verify(tmp_path)]
    for name, word in [
        ("cameras.json", "names 'ghost'"),
        ("ghost.png", "belongs to no picture"),
        ("a_mask.png", "the mask is 60x40 pixels but its image is 40x60"),
        ("a_depth.npz", "30x30 pixels"),
        ("c.ply", "not watertight: 3 open edges"),
        ("a.ply", "is not used"),
        ("b_mask.png", "largest value is 1 of 255"),
        ("b.png", "its camera in cameras.json is 9x9"),
        ("b.ply", "empty"),
    ]:
        assert any(n == name and word in m for n, m in found), (name, word, found)
    assert len(found) == 9


def test_the_revision_follows_what_is_used_and_nothing_else(tmp_path):
    picture(tmp_path / "a.png")
    first = FOLDER.revision(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    picture(tmp_path / "csets" / "s-1234" / "x.png")
    (tmp_path / "csets" / "s-1234" / "manifest.json").write_text(json.dumps({"cset_id": "1234"}))
    assert FOLDER.revision(tmp_path) == first
    seen = {first}
    write_mask(tmp_path / "a_mask.png", person())
    seen.add(FOLDER.revision(tmp_path))
    (tmp_path / "cameras.json").write_text("{}")
    seen.add(FOLDER.revision(tmp_path))
    picture(tmp_path / "a.png", 61)
    seen.add(FOLDER.revision(tmp_path))
    write_splits(tmp_path, {"test": ["a"]})
    seen.add(FOLDER.revision(tmp_path))
    assert len(seen) == 5


def test_ids_are_safe_and_stay_different():
    assert safe_id("p-1_a.b") == "p-1_a.b"
    odd = ["a b", "a_b", "a?b", "é", "è", "..", "", "-x", "x" * 300, "x" * 299 + "y"]
    ids = [safe_id(name) for name in odd]
    assert len(set(ids)) == len(odd)
    assert all(i and len(i) < 140 and i[0] not in ".-" and not set(i) & set("/\\ ?:") for i in ids)


def test_natural_order_is_total():
    names = ["a", "a1", "a01", "a10", "a2", "1", "01", "10", "2", ""]
    ordered = sorted(names, key=natural_key)
    assert ordered.index("a2") < ordered.index("a10")
    assert len({natural_key(n) for n in names}) == len(names)
    assert sorted(reversed(names), key=natural_key) == ordered


@pytest.mark.parametrize("home", ["", "images"])
def test_folders_below_are_read_by_name(tmp_path, home):
    where = tmp_path / home
    for name in ("x10.png", "x2.jpg", "monday/x2.png", "monday/früh/日本 1.png"):
        path = where / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 40, 3), 9, np.uint8)).save(path)
    write_mask(tmp_path / "masks" / "monday" / "x2.png", person(40, 40))
    write_mask(where / "monday" / "früh" / "masks" / "日本 1.png", person(40, 40))
    write_depth(where / "monday" / "x2_depth.npz", np.ones((40, 40)))
    (tmp_path / "cameras.json").write_text(json.dumps({"monday/x2": {"subject": "anna"}}))
    samples = list(FOLDER.samples(tmp_path))
    assert [s.image.relative_to(where).as_posix() for s in samples] == [
        "monday/früh/日本 1.png",
        "monday/x2.png",
        "x2.jpg",
        "x10.png",
    ]
    assert len({s.sample_id for s in samples}) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", s.sample_id) for s in samples)
    assert [s.sample_id for s in samples[2:]] == ["x2", "x10"], "flat names stay what they were"
    by = {s.image.stem + s.image.suffix: s for s in samples}
    assert samples[1].mask == tmp_path / "masks" / "monday" / "x2.png"
    assert samples[1].depth == where / "monday" / "x2_depth.npz"
    assert samples[1].subject_id == "anna"
    assert by["日本 1.png"].mask.parent.name == "masks"
    assert by["x2.jpg"].mask is None, "a mask belongs to the picture of its own path only"


def test_composed_and_decomposed_names_are_the_same_name(tmp_path):
    picture(tmp_path / unicodedata.normalize("NFD", "Jörg.png"))
    write_mask(tmp_path / unicodedata.normalize("NFC", "Jörg_mask.png"), person())
    (sample,) = FOLDER.samples(tmp_path)
    assert sample.mask is not None


def test_what_robench_made_inside_the_data_is_no_data(tmp_path):
    picture(tmp_path / "a.png")
    for record, content in {
        "csets/s/manifest.json": {"cset_id": "1"},
        "runs/r/run.json": {},
        "out/m/masks.json": {},
        "clip-frames-1/video.json": {},
    }.items():
        picture(tmp_path / Path(record).parent / "images" / "b.png")
        (tmp_path / record).write_text(json.dumps(content))
    picture(tmp_path / ".hidden" / "c.png")
    picture(tmp_path / "theirs" / "d.png")
    (tmp_path / "theirs" / "manifest.json").write_text("not ours")
    assert [s.image.stem for s in FOLDER.samples(tmp_path)] == ["a", "d"]


def test_thousands_of_pictures_are_planned_in_seconds(tmp_path):
    from robench.engine.cset_writer import plan_set
    from robench.engine.recipes import custom_recipe
    from robench.engine.selection import select

    data = encode_png(np.zeros((32, 32, 3), np.uint8))
    for folder in range(20):
        (tmp_path / "in" / f"tag {folder}").mkdir(parents=True)
        for number in range(100):
            (tmp_path / "in" / f"tag {folder}" / f"bild_ü{number}.png").write_bytes(data)
    before = time.process_time()
    plan = plan_set(select(tmp_path / "in"), custom_recipe(["iso_noise"]), 0, tmp_path / "out")
    assert plan.cells == 2000 * 6
    assert time.process_time() - before < 10, "2 s of work where it was written"
    assert not (tmp_path / "out").exists()


def test_the_unit_of_depth_may_be_declared_above(tmp_path):
    picture(tmp_path / "images" / "a" / "x.png")
    (tmp_path / "depth" / "a").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "depth" / "a" / "x.png"), np.full((60, 40), 2500, np.uint16))
    (tmp_path / "depth" / "depth.json").write_text(json.dumps({"unit": "mm"}))
    (sample,) = FOLDER.samples(tmp_path)
    assert read_depth(sample.depth)[0, 0] == np.float32(2.5)
    before = FOLDER.revision(tmp_path)
    (tmp_path / "depth" / "depth.json").write_text(json.dumps({"unit": "m"}))
    assert FOLDER.revision(tmp_path) != before, "the unit is part of the data"
