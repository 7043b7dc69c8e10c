"""The embedded data set: closed people, exact pictures, the same bytes for the same seed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from robench.contracts import Mesh
from robench.data.anny_humans import AnnyHumans, paint, poses, shapes, subject, synth, synthesise
from robench.data.anny_humans.background import draw_background
from robench.errors import UsageError
from robench.geometry import contains, is_watertight, volume
from robench.io.depth import read_depth
from robench.io.images import read_image, read_mask
from robench.io.meshes import read_mesh


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp("anny") / "set"
    synthesise(out, 2, [0, 330], size=96, seed=3, split="test", workers=2)
    return out


def _components(mesh: Mesh) -> int:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    a, b = mesh.faces.ravel(), np.roll(mesh.faces, 1, axis=1).ravel()
    links = coo_matrix((np.ones(len(a)), (a, b)), shape=(len(mesh.vertices),) * 2)
    return int(connected_components(links, directed=False)[0])


@pytest.mark.parametrize(
    ("family", "bottom", "hair", "jacket"),
    [("standing", "dress", "long", False), ("sitting", "skirt", "bun", False), ("running", "wide", "ponytail", True)],
)
def test_people_are_closed_single_and_human_sized(family, bottom, hair, jacket):
    drawn = subject.draw_person("t", 5)
    rng = np.random.default_rng(1)
    values = {**drawn.__dict__, "family": family, "bottom": bottom, "hair": hair, "jacket": jacket}
    person = subject.Person(**{**values, "pose": poses.draw_pose(family, rng)})
    mesh = subject.build(person)
    assert is_watertight(mesh)
    assert _components(mesh) == 1
    assert 30_000 < volume(mesh) < 200_000  # cm³, outward faces
    assert mesh.vertices[:, 1].min() == 0
    height = mesh.vertices[:, 1].max()
    assert 100 < height < 215
    assert mesh.colours is not None
    assert mesh.colours.dtype == np.uint8


def test_the_face_looks_along_plus_z():
    """Feet point where the nose points: the toes lie in front of the heels."""
    from robench.data.anny_humans.body import pose_body, template

    t = template()
    body = pose_body({"gender": 0.5, "age": 0.67, "height": 0.5}, {})
    assert body.joints["eye.L"][2] > body.joints["head"][2] + 3
    assert body.joints["upperarm01.L"][0] > body.joints["upperarm01.R"][0]
    assert body.vertices[t.part["foot"] > 0.5, 2].max() > body.joints["foot.L"][2] + 8


def test_a_skirt_hangs_free_of_the_legs():
    """Between the legs of a standing person, under the hem's height, there is air inside the cloth."""
    drawn = subject.draw_person("t", 5)
    person = subject.Person(
        **{**drawn.__dict__, "family": "standing", "bottom": "dress", "jacket": False, "pose": {}, "hair": "short"}
    )
    mesh = subject.build(person)
    from robench.data.anny_humans.body import pose_body, template

    body = pose_body(person.shape, person.pose)
    skirt = subject.dress(person, body, template()).skirt
    assert skirt is not None
    middle = np.array([[skirt.axis[0], skirt.low + 4.0, skirt.axis[1]]])
    assert not contains(middle, mesh)[0]
    edge = middle + np.array([[float(skirt.radius[2].max()) + 6.0, 0, 0]])
    assert not contains(edge, mesh)[0]


def test_every_style_and_pattern_can_be_drawn():
    rng = np.random.default_rng(0)
    for family in poses.POSES:
        assert poses.draw_pose(family, rng)
    sheet = rng.uniform(-40, 40, (200, 3))
    for pattern in paint.PATTERNS:
        colours = paint.cloth(paint.draw_material(rng, pattern), sheet)
        assert colours.shape == (200, 3)
        assert np.isfinite(colours).all()
        assert (len(np.unique(colours, axis=0)) == 1) == (pattern == "plain")
    with pytest.raises(ValueError, match="unknown pose"):
        poses.draw_pose("flying", rng)
    drawn = [subject.draw_person(f"x{i}", 0) for i in range(300)]
    assert {p.hair for p in drawn} == set(shapes.HAIR_STYLES)
    assert {p.bottom for p in drawn} == set(subject.BOTTOMS)
    assert {p.family for p in drawn} == set(poses.POSES)
    tones = np.array([paint.skin_tone(p.tone).mean() for p in drawn])
    assert tones.min() < 60
    assert tones.max() > 200


def test_same_seed_same_bytes_whatever_the_workers(root, tmp_path):
    again = tmp_path / "again"
    revision = synthesise(again, 2, [0, 330], size=96, seed=3, split="test", workers=1)
    assert (again / "manifest.json").read_bytes() == (root / "manifest.json").read_bytes()
    assert AnnyHumans().revision(root) == revision
    other = tmp_path / "other"
    synthesise(other, 1, [0], size=96, seed=4, split="test")
    one = "subjects/test-0000/mesh.ply"
    assert (other / one).read_bytes() != (root / one).read_bytes()


def test_pictures_agree_with_the_mesh(root):
    for sample in AnnyHumans().samples(root, "test"):
        mesh = read_mesh(sample.mesh)
        mask = read_mask(sample.mask) > 0.5
        depth = read_depth(sample.depth)
        image = read_image(sample.image)
        assert image.shape == (96, 96, 3)
        assert np.isfinite(depth).all()
        pixels = sample.camera.project(mesh.vertices)
        inside = np.rint(pixels[:, :2]).astype(int)
        assert inside.min() >= 0
        assert inside.max() < 96
        # Every vertex falls on the mask (or one pixel beside it), and none lies in front of the depth map.
        grown = mask.copy()
        for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            grown |= np.roll(mask, (dy, dx), (0, 1))
        assert grown[inside[:, 1], inside[:, 0]].mean() > 0.995
        nearest = ndimage.minimum_filter(depth, 3)  # a pixel is 2 cm wide here: look at its neighbours too
        seen = nearest[inside[:, 1], inside[:, 0]]
        on = mask[inside[:, 1], inside[:, 0]]
        assert (pixels[on, 2] > seen[on] - 0.06).mean() > 0.99
        assert depth[~mask].min() > 0
        # 450 of 512 pixels in height, unless arms would leave the frame.
        rows = np.flatnonzero(mask.any(1))
        assert len(rows) <= 96 * 450 / 512 + 2


def test_the_floor_comes_forward_to_the_last_row_without_a_step():
    """Past the feet too: a floor that ended would be an upright face, which lamps behind it leave dark."""
    for seed in range(20):
        depth = draw_background(256, 235.0, 3.5, np.random.default_rng(seed), "plain").depth
        assert (depth == depth[:, :1]).all()
        step = np.diff(depth[:, 0])
        first = int(np.flatnonzero(step)[0])
        assert 180 < first < 235, "the wall meets the floor behind the feet"
        assert depth[235, 0] == pytest.approx(3.8, abs=0.02)
        floor = step[first + 2 :]
        assert (floor < 0).all()
        assert (floor[1:] / floor[:-1] > 0.75).all(), "no row ends the floor"
        assert depth.min() > 1.5


def test_splits_never_share_a_person_and_verify_finds_a_changed_byte(root, tmp_path):
    out = tmp_path / "two"
    synthesise(out, 1, [0], size=64, seed=3, split="test")
    synthesise(out, 1, [0], size=64, seed=3, split="val")
    reader = AnnyHumans()
    assert [s.subject_id for s in reader.samples(out)] == ["val-0000", "test-0000"]
    assert reader.verify(out) == []
    meshes = [read_mesh(s.mesh) for s in reader.samples(out)]
    assert meshes[0].vertices.shape != meshes[1].vertices.shape
    path = out / "subjects/val-0000/000/image.png"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    problems = reader.verify(out)
    assert [p.path for p in problems] == [path]
    assert "changed" in problems[0].message


def test_a_finished_subject_is_not_made_again(root):
    path = root / "subjects/test-0000/mesh.ply"
    before = path.stat().st_mtime_ns
    synthesise(root, 2, [0, 330], size=96, seed=3, split="test")
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("arguments", "word"),
    [({"split": "tset"}, "split"), ({"subjects": 0}, "subjects"), ({"size": 10}, "pixels"), ({"seed": 9}, "another")],
)
def test_wrong_arguments_are_one_sentence(root, arguments, word):
    wanted = {"subjects": 1, "views": [0], "size": 96, "seed": 3, "split": "test", **arguments}
    with pytest.raises(UsageError, match=word):
        synthesise(root, **wanted)


def test_a_record_replays_its_person(root):
    record = json.loads((root / "subjects/test-0001/subject.json").read_text())["person"]
    assert record["version"] == subject.VERSION
    person = subject.draw_person("test-0001", 3)
    assert person.to_json() == record
    built = subject.build(person)
    stored = read_mesh(root / "subjects/test-0001/mesh.ply")
    assert np.array_equal(built.vertices, stored.vertices)
    camera = synth.orbit_camera(stored, 330, 96)
    first = [s for s in AnnyHumans().samples(root) if s.subject_id == "test-0001"][1]
    assert np.allclose(camera.view_from_world, first.camera.view_from_world)
