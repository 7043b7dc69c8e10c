"""A camera that moved: its picture, mask and ground truth go together through sets, masks, runs and chains."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from robench import registry
from robench.analysis import read_rows
from robench.contracts import Camera, Card, OpenReport, Reconstruction
from robench.engine.cells import Cell, Inputs, OnTheFly, corrupt_cell
from robench.engine.composed import Composed
from robench.engine.conditions import Chain, Part
from robench.engine.cset import companion_path, image_path, open_set, replay
from robench.engine.cset_writer import write_set
from robench.engine.evaluate import evaluate
from robench.engine.masks import load_masker, mask_for
from robench.engine.recipes import custom_recipe
from robench.engine.selection import select
from robench.engine.tasks import Options
from robench.errors import Mismatch, SampleFailure
from robench.io.images import pixels_sha256
from robench.io.meshes import read_mesh

VIEWS = ["camera_pitch", "field_of_view", "scale", "view_jitter"]
MOVED = [*VIEWS, "camera_roll"]


class Oracle:
    """Knows the truth and puts it where the camera of the picture sees it."""

    card = Card("oracle", "1", "knows", extra={"inputs_used": ["camera"]})

    def __init__(self, people: Path) -> None:
        self.people = people

    def open(self, device: str, weights: Path | None = None) -> OpenReport:
        return OpenReport("cpu", 0, "0" * 64)

    def reconstruct(self, requests):
        return [
            Reconstruction(
                read_mesh(self.people / "meshes" / f"{r.sample_id}.ply").transformed(r.camera.view_from_world),
                frozenset({"camera"}),
            )
            for r in requests
        ]

    def close(self) -> None:
        pass


@pytest.mark.parametrize("stored", [False, True], ids=["on the fly", "from a set"])
def test_who_knows_the_camera_is_right_in_every_view(people: Path, tmp_path: Path, plugins, stored: bool) -> None:
    plugins.add("models", "oracle", lambda: Oracle(people))
    metrics = ["chamfer_cm", "chamfer_unaligned_cm", "mask_iou"]
    plugins.keep_only("metrics", *metrics)
    options = Options(
        model="oracle", masker="given", metrics=metrics, out=tmp_path / "runs", quiet=True, in_process=True
    )
    if stored:
        cset = write_set(select(people), custom_recipe(MOVED, (2, 5)), 0, tmp_path / "csets", quiet=True).folder
        options = Options(**vars(options) | {"cset": cset})
    else:
        options = Options(**vars(options) | {"data": people, "corruptions": ",".join(MOVED), "severities": "2,5"})
    rows = read_rows(evaluate(options).folder)
    assert set(rows["status"]) == {"ok"}
    value = rows.set_index(["metric", "corruption", "severity"]).sort_index()["value"]
    clean = value["chamfer_cm", "clean"].mean()
    assert value["chamfer_cm"].max() < clean + 0.01, "as on the clean picture"
    assert value["mask_iou"].min() > 0.97
    for name in ("camera_pitch", "camera_roll", "view_jitter"):
        unaligned = value["chamfer_unaligned_cm", name].groupby("severity").mean()
        assert unaligned[2] > clean + 0.5
        assert unaligned[5] > unaligned[2] + 0.5


@pytest.mark.parametrize("name", VIEWS)
def test_truth_falls_on_the_mask(people: Path, name: str) -> None:
    for sample in select(people).samples[:2]:
        clean, picture = (corrupt_cell(Cell(sample, c, s), 0) for c, s in (("clean", 0), (name, 4)))
        assert picture.notes["mode"] == "mesh"
        pixels = picture.camera.project(read_mesh(sample.mesh).vertices)[:, :2]
        rows, columns = np.nonzero(picture.true_mask > 0.5)
        for axis, found in ((0, columns), (1, rows)):
            assert pixels[:, axis].min() == pytest.approx(found.min(), abs=1.5)
            assert pixels[:, axis].max() == pytest.approx(found.max(), abs=1.5)
        overlap = np.minimum(clean.true_mask, picture.true_mask).sum()
        assert overlap < 0.98 * np.maximum(clean.true_mask, picture.true_mask).sum()


def test_a_set_gives_back_camera_mask_and_pixels(people: Path, tmp_path: Path) -> None:
    report = write_set(select(people), custom_recipe(VIEWS, (3,)), 7, tmp_path, quiet=True)
    assert report.failed == []
    cset, source, masker = open_set(report.folder), OnTheFly(7), load_masker("given")
    for sample in cset.select().samples:
        for name in VIEWS:
            cell = Cell(sample, name, 3)
            stored, fresh, inputs = cset.picture(cell), source.picture(cell), Inputs(sample)
            assert np.array_equal(stored.image, fresh.image)
            assert np.array_equal(stored.true_mask, fresh.true_mask)
            assert stored.camera.to_json() == fresh.camera.to_json()
            assert stored.drawn_mask == fresh.drawn_mask
            assert np.array_equal(mask_for(masker, stored, inputs), mask_for(masker, fresh, inputs))
            assert np.abs(mask_for(masker, stored, inputs) - (fresh.true_mask >= 0.5)).max() < 1e-6
            row = cset.rows[cell.key]
            again = replay(row, inputs.image, inputs.depth, inputs.mask, inputs.scene, inputs.camera)
            assert pixels_sha256(again) == row["pixels_sha256"]


def test_processes_and_order_do_not_change_a_byte(people: Path, tmp_path: Path) -> None:
    def content(jobs: int, names: list[str]) -> dict[str, bytes]:
        recipe = custom_recipe(names, (4,))
        folder = write_set(select(people), recipe, 0, tmp_path / f"{jobs}", jobs=jobs, quiet=True).folder
        files = (p for kind in ("images", "masks") for p in sorted((folder / kind).rglob("*.png")))
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}

    one, two = content(1, VIEWS), content(2, VIEWS[::-1])
    assert one == two
    assert "masks/true/camera_pitch/4/s0_0.png" in one


def test_a_damaged_mask_is_found_and_made_anew(people: Path, tmp_path: Path) -> None:
    def make():
        return write_set(select(people), custom_recipe(["camera_pitch"], (3,)), 0, tmp_path, quiet=True)

    report = make()
    cell = Cell(select(people).samples[0], "camera_pitch", 3)
    path = report.folder / companion_path("masks/true", image_path(cell))
    whole = path.read_bytes()
    other = companion_path("masks/true", image_path(Cell(select(people).samples[1], "camera_pitch", 3)))
    for broken in (b"", (report.folder / other).read_bytes()):
        path.write_bytes(broken)
        with pytest.raises(Mismatch, match="robench corrupt"):
            open_set(report.folder).picture(cell)
        assert make().made == 1
        assert path.read_bytes() == whole


def test_a_plain_photograph_is_turned_in_the_image(make_people) -> None:
    people = make_people(1, mesh=False)
    (people / "cameras.json").unlink()
    sample = select(people).samples[0]
    assert Inputs(sample).scene is None
    for name in VIEWS:
        picture = corrupt_cell(Cell(sample, name, 3), 0)
        assert picture.notes["mode"] == "image"
        # Its camera is an assumption; the person's middle is where that camera sees it all the same (but for what
        # perspective takes from one half of the box and gives to the other).
        rows, columns = np.nonzero(picture.true_mask > 0.5)
        middle = [(columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2]
        assert np.abs(picture.camera.project(np.zeros((1, 3)))[0, :2] - middle).max() < 2


def test_a_mesh_that_cannot_be_read_is_a_failed_sample(people: Path) -> None:
    sample = select(people).samples[0]
    sample.mesh.write_bytes(b"ply")
    with pytest.raises(SampleFailure, match="mesh"):
        corrupt_cell(Cell(sample, "camera_pitch", 1), 0)
    assert corrupt_cell(Cell(sample, "low_light", 1), 0).image.any(), "others do not read it"


def test_masks_and_motions_that_cannot_be_are_told(people: Path, plugins) -> None:
    darker = type(registry.load("corruptions", "darker"))

    def made(**result):
        class Odd(darker):
            def apply(self, image, params, aux):
                return SimpleNamespace(image=image, affine=None, notes={}, **result)

        plugins.add("corruptions", "darker", Odd)
        return corrupt_cell(Cell(select(people).samples[0], "darker", 1), 0)

    with pytest.raises(SampleFailure, match=r"returned a mask of shape \(3, 3\)"):
        made(mask=np.zeros((3, 3)))
    with pytest.raises(SampleFailure, match="rigid"):
        made(view_change=np.diag([1, 2, 1, 1.0]))
    half = np.full((48, 48), 0.5004)
    picture = made(mask=half)
    assert np.allclose(picture.true_mask * 255, 128), "in the steps of a stored mask"
    assert picture.drawn_mask


def test_a_camera_moves_rigidly_and_then_its_pixels() -> None:
    camera = Camera(np.eye(4), 2.0, (49.5, 39.5), 100, 80, kind="pinhole", distance=300.0)
    turn = np.eye(4)
    turn[:3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
    turn[:3, 3] = [1, 2, 3]
    affine = np.array([[0.5, 0, 3], [0, 0.5, -2]])
    points = np.random.default_rng(0).uniform(-20, 20, (9, 3))
    moved = camera.followed(affine, turn)
    direct = camera.project(points @ turn[:3, :3].T + turn[:3, 3])
    assert np.allclose(moved.project(points)[:, :2], direct[:, :2] @ affine[:, :2].T + affine[:, 2])
    assert np.allclose(moved.project(points)[:, 2], direct[:, 2])
    for wrong in (np.diag([1, 1, -1, 1.0]), np.eye(3), np.diag([2, 2, 2, 1.0])):
        with pytest.raises(ValueError, match="rigid"):
            camera.followed(None, wrong)


@pytest.mark.parametrize(
    "parts", [("camera_pitch:4", "camera_roll:3", "view_jitter:5"), ("scale:2", "field_of_view:1")]
)
def test_views_after_one_another(people: Path, parts: tuple[str, ...]) -> None:
    """Each part sees mesh, mask and camera as the parts before left them."""
    chain = Chain(tuple(Part(name, int(level)) for name, level in (part.split(":") for part in parts)))
    sample = select(people).samples[1]
    picture = Composed(chain).picture(Inputs(sample), 5, 0)
    assert [part["notes"]["mode"] for part in picture.notes["parts"] if "notes" in part] == ["mesh"] * (
        len(parts) - parts.count("camera_roll:3")
    )
    pixels = picture.camera.project(read_mesh(sample.mesh).vertices)[:, :2]
    rows, columns = np.nonzero(picture.true_mask > 0.5)
    for axis, found in ((0, columns), (1, rows)):
        assert pixels[:, axis].min() == pytest.approx(found.min(), abs=1.5)
        assert pixels[:, axis].max() == pytest.approx(found.max(), abs=1.5)
    # The person wears one colour, the wall others: the picture has the person where the mask has them.
    inside = picture.image[picture.true_mask > 0.99].astype(int)
    worn = Inputs(sample).image[Inputs(sample).mask > 0.99].mean(axis=0)
    assert np.percentile(np.abs(inside - worn).max(axis=1), 90) < 30


def test_fog_after_pitch_reads_the_depth_of_the_new_view(people: Path) -> None:
    sample = select(people).samples[1]
    chain = Chain((Part("camera_pitch", 5), Part("fog_3d", 4)))
    picture = Composed(chain).picture(Inputs(sample), 5, 0)
    inside, outside = picture.true_mask > 0.99, picture.true_mask == 0
    pitched = corrupt_cell(Cell(sample, "camera_pitch", 5), 0)
    kept = [np.abs(picture.image[part].astype(int) - 204).mean() for part in (inside, outside)]
    clean = [np.abs(pitched.image[part].astype(int) - 204).mean() for part in (inside, outside)]
    assert kept[0] / clean[0] > 3 * kept[1] / clean[1], "the person stands nearer than the wall, where they are now"
