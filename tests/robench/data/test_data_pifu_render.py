from __future__ import annotations

import io
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh
from PIL import Image

from robench.data._safe_npy import read_pickled_dict
from robench.data.pifu_render import PifuRender, camera_from_params
from robench.errors import UsageError
from robench.io.images import UnreadableInput, write_mask

GOLDEN = Path(__file__).parents[2] / "goldens" / "data_pifu.npz"
READER = PifuRender()


def turn(yaw):
    c, s = np.cos(np.deg2rad(yaw)), np.sin(np.deg2rad(yaw))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN, allow_pickle=False) as values:
        return dict(values)


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(0).uniform([-60, 0, -40], [60, 190, 40], (500, 3))


def pixels(calib, points):
    """PIFu's own arithmetic: normalised coordinates -1 at the edge of pixel 0; then pixels with integers at centres."""
    ndc = points @ calib[:3, :3].T.astype(np.float64) + calib[:3, 3]
    return (ndc[:, :2] + 1) * 256 - 0.5


@pytest.mark.parametrize("yaw", [0, 40, 217])
def test_our_camera_projects_like_the_original_calibration(golden, points, yaw):
    camera = camera_from_params(
        turn(yaw), golden["center"], float(golden["scale"]), float(golden["ortho_ratio"]), 512, 512
    )
    calib = golden[f"calib_test_yaw{yaw}"]
    found = camera.project(points)
    np.testing.assert_allclose(found[:, :2], pixels(calib, points), atol=1e-3)
    # Its third row is depth towards the viewer, in the unit of x and y; ours is distance from the camera in metres.
    towards = (points @ calib[2, :3].astype(np.float64) + calib[2, 3]) * 256 / camera.scale
    np.testing.assert_allclose(camera.distance - found[:, 2] * 100, towards, atol=1e-3)


@pytest.mark.parametrize("draw", [1, 3])
def test_a_scaled_and_shifted_training_picture_is_a_camera_that_followed(golden, points, draw):
    camera = camera_from_params(turn(40), golden["center"], float(golden["scale"]), 0.4, 512, 512)
    _, ratio, dx, dy = golden["draws_flipU_scale_dx_dy"][draw]
    middle = 255.5 * (1 - ratio)
    moved = camera.followed(np.array([[ratio, 0, middle - dx], [0, ratio, middle - dy]]))
    expected = pixels(golden[f"calib_train_draw{draw}"], points)
    np.testing.assert_allclose(moved.project(points)[:, :2], expected, atol=1e-3)


def test_half_the_picture_is_half_the_scale(golden, points):
    full = camera_from_params(turn(40), golden["center"], 1.0125, 0.4, 512, 512)
    half = camera_from_params(turn(40), golden["center"], 1.0125, 0.4 * 2, 256, 256)
    np.testing.assert_allclose(half.project(points), full.resized(256, 256).project(points), atol=1e-9)


@pytest.mark.parametrize(
    ("name", "value"),
    [("R", np.ones((3, 3))), ("R", -np.eye(3)), ("center", [0, np.nan, 0]), ("scale", 0.0), ("ortho_ratio", -1.0)],
)
def test_a_camera_that_is_none_is_refused(name, value):
    values = {"R": np.eye(3), "center": np.zeros(3), "scale": 1.0, "ortho_ratio": 0.4, name: value}
    with pytest.raises(ValueError, match=r"rotation|finite"):
        camera_from_params(values["R"], np.array(values["center"]), values["scale"], values["ortho_ratio"], 512, 512)


def params(yaw=0, **changes):
    values = {
        "sh": np.zeros((9, 3)),
        "ortho_ratio": 0.4,
        "scale": np.float64(1.0),
        "center": np.zeros(3),
        "R": turn(yaw),
    }
    return values | changes


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values, allow_pickle=True)


def silhouette(vertices, yaw):
    """Draw a convex body as the original calibration projects it."""
    calib = np.eye(4)
    calib[:3, :3] = np.diag([1, -1, 1]) @ turn(yaw) / 0.4 / 256
    hull = cv2.convexHull(np.round(pixels(calib, vertices) * 16).astype(np.int32))
    return cv2.fillConvexPoly(np.zeros((512, 512), np.uint8), hull, 1, shift=4)


@pytest.fixture
def root(tmp_path):
    capsule = trimesh.creation.capsule(height=120, radius=25, count=[16, 16])
    capsule.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, [1, 0, 0]))
    capsule.apply_translation([10, 0, -capsule.bounds.mean(axis=0)[2] - 5])
    for subject in ("s2", "s10"):
        (tmp_path / "GEO" / "OBJ" / subject).mkdir(parents=True)
        capsule.export(tmp_path / "GEO" / "OBJ" / subject / f"{subject}_100k.obj")
        for yaw in (0, 10, 2):
            name = f"{yaw}_0_00"
            for folder in ("RENDER", "MASK"):
                (tmp_path / folder / subject).mkdir(parents=True, exist_ok=True)
            hit = silhouette(capsule.vertices, yaw)
            write_mask(tmp_path / "MASK" / subject / f"{name}.png", hit)
            Image.fromarray(np.repeat((hit * 200)[..., None], 3, axis=2)).save(
                tmp_path / "RENDER" / subject / f"{name}.jpg"
            )
            save(tmp_path / "PARAM" / subject / f"{name}.npy", params(yaw))
    (tmp_path / "val.txt").write_text("s10\n")
    return tmp_path


def test_the_layout_is_read_in_natural_order(root):
    assert READER.accepts(root)
    samples = list(READER.samples(root))
    assert [s.sample_id for s in samples] == [f"s{i}_{yaw}_0_00" for i in (2, 10) for yaw in (0, 2, 10)]
    assert [s.view for s in samples[:3]] == [0.0, 2.0, 10.0]
    assert all(s.camera and s.mask.is_file() and s.mesh.is_file() for s in samples)
    assert READER.verify(root) == []
    assert {s.subject_id for s in READER.samples(root, "train")} == {"s2"}
    assert {s.subject_id for s in READER.samples(root, "val")} == {s.subject_id for s in READER.samples(root, "test")}
    with pytest.raises(UsageError, match="no split 'dev'"):
        list(READER.samples(root, "dev"))


def test_the_mesh_projects_onto_its_mask(root):
    from robench.io.images import read_mask
    from robench.io.meshes import read_mesh

    sample = next(s for s in READER.samples(root) if s.view == 10)
    uv = sample.camera.project(read_mesh(sample.mesh).vertices)[:, :2]
    rows, columns = np.nonzero(read_mask(sample.mask) > 0.5)
    np.testing.assert_allclose(uv.min(axis=0), [columns.min() - 0.5, rows.min() - 0.5], atol=1)
    np.testing.assert_allclose(uv.max(axis=0), [columns.max() + 0.5, rows.max() + 0.5], atol=1)


def test_the_revision_follows_the_layout_only(root):
    first = READER.revision(root)
    (root / "notes.txt").write_text("x")
    assert READER.revision(root) == first
    (root / "val.txt").write_text("s2\n")
    assert READER.revision(root) != first


def test_faults_are_named_and_stop_nobody(root):
    (root / "PARAM" / "s2" / "2_0_00.npy").write_bytes(b"")
    (root / "MASK" / "s2" / "0_0_00.png").unlink()
    (root / "RENDER" / "s2" / "10_0_00.jpg").write_bytes(b"\xff\xd8\xff")
    (root / "GEO" / "OBJ" / "s10" / "s10_100k.obj").write_text("v 0 0 0\n")
    (root / "val.txt").write_text("s10\nghost\n")
    samples = list(READER.samples(root))
    assert len(samples) == 6
    assert [s.camera is None for s in samples[:3]] == [False, True, True]
    assert [s.mesh is None for s in samples[:3]] == [False, True, True]
    assert samples[0].mask is None
    named = {p.path.relative_to(root).as_posix() for p in READER.verify(root)}
    assert named == {
        "PARAM/s2/2_0_00.npy",
        "MASK/s2/0_0_00.png",
        "RENDER/s2/10_0_00.jpg",
        "GEO/OBJ/s10/s10_100k.obj",
        "val.txt",
    }


def test_missing_val_and_views(root):
    (root / "val.txt").unlink()
    with pytest.raises(UsageError, match=r"no val\.txt"):
        list(READER.samples(root, "val"))
    for picture in (root / "RENDER").rglob("*.jpg"):
        picture.unlink()
    with pytest.raises(UsageError, match="no view"):
        list(READER.samples(root))


def raw_npy(pickled):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
    return header.getvalue() + pickled


@pytest.mark.parametrize("protocol", [0, 2, 3, 4])
@pytest.mark.parametrize("era", ["numpy._core", "numpy.core"])
def test_parameter_files_of_old_and_new_numpy_are_read(tmp_path, protocol, era):
    values = params(
        30, dist=np.int64(7), big=np.arange(6, dtype=">f4").reshape(2, 3), fortran=np.asfortranarray(np.eye(3))
    )
    pickled = pickle.dumps(np.array(values, dtype=object), protocol=protocol)
    if protocol < 4:  # names are stored as lines, so that they can be exchanged
        pickled = pickled.replace(b"numpy._core", era.encode())
    (tmp_path / "p.npy").write_bytes(raw_npy(pickled))
    found = read_pickled_dict(tmp_path / "p.npy")
    assert found.keys() == values.keys()
    for name, value in values.items():
        np.testing.assert_array_equal(found[name], value)
        assert np.asarray(found[name]).dtype.kind == np.asarray(value).dtype.kind


class Evil:
    def __init__(self, call, *arguments):
        self.parts = call, arguments

    def __reduce__(self):
        return self.parts


@pytest.mark.parametrize("where", ["alone", "inside"])
def test_a_hostile_parameter_file_runs_nothing(tmp_path, where):
    trap = tmp_path / "trap"
    evil = Evil(Path.touch, trap)
    content = evil if where == "alone" else params(R=evil)
    (tmp_path / "p.npy").write_bytes(raw_npy(pickle.dumps(np.array(content, dtype=object), protocol=4)))
    with pytest.raises(UnreadableInput, match="only numbers and arrays are allowed"):
        read_pickled_dict(tmp_path / "p.npy")
    assert not trap.exists()
    np.load(tmp_path / "p.npy", allow_pickle=True).item()
    assert trap.exists(), "the file was hostile: a reader that trusts it runs it"


@pytest.mark.parametrize(
    "call",
    [
        (eval, "1+1"),
        (exec, "x=1"),
        (getattr, "a", "upper"),
        (np.load, "x"),
        (np.ndarray, (10**12,)),
        (np.dtype, "V9"),
        (open, "x"),
    ],
)
def test_no_name_but_the_needed_ones_is_answered(tmp_path, call):
    (tmp_path / "p.npy").write_bytes(raw_npy(pickle.dumps({"R": Evil(*call)}, protocol=4)))
    with pytest.raises(UnreadableInput):
        read_pickled_dict(tmp_path / "p.npy")


def test_damaged_parameter_files(tmp_path):
    save(tmp_path / "p.npy", params())
    data = (tmp_path / "p.npy").read_bytes()
    for cut in (0, 5, 20, 90, len(data) // 2, len(data) - 1):
        (tmp_path / "cut.npy").write_bytes(data[:cut])
        with pytest.raises(UnreadableInput):
            read_pickled_dict(tmp_path / "cut.npy")
    np.save(tmp_path / "plain.npy", np.eye(3))
    with pytest.raises(UnreadableInput, match="float64, not a dictionary"):
        read_pickled_dict(tmp_path / "plain.npy")
    (tmp_path / "large.npy").write_bytes(b"x" * (2 << 20))
    with pytest.raises(UnreadableInput, match="bytes"):
        read_pickled_dict(tmp_path / "large.npy")
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(data)
        for at in rng.integers(0, len(data), 3):
            broken[at] = rng.integers(0, 256)
        (tmp_path / "fuzz.npy").write_bytes(bytes(broken))
        try:
            read_pickled_dict(tmp_path / "fuzz.npy")
        except UnreadableInput:
            continue
