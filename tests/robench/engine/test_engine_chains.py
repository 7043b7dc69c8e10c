"""Chains and mixtures: read, named, drawn, applied in order, followed by mask, depth and camera, replayed, resumed."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from robench import registry
from robench.analysis import degradation_table, read_rows
from robench.contracts import Card
from robench.engine.cells import Cell, Change, OnTheFly, Picture, is_able, needs_of, plan_cells, refuse_unable
from robench.engine.composed import Beside, Composed, composed_affine, left_frame, makers
from robench.engine.conditions import Chain, Mixture, Part, Recipe, RecipeCell
from robench.engine.cset import open_set, replay
from robench.engine.cset_index import INDEX, read_index
from robench.engine.cset_writer import write_set
from robench.engine.evaluate import evaluate
from robench.engine.inputs import Inputs
from robench.engine.recipes import choose_recipe, custom_recipe, read_recipe
from robench.engine.selection import select
from robench.engine.tasks import Options
from robench.errors import NotComparable, SampleFailure, UsageError
from robench.io.images import pixels_sha256, read_image
from robench.io.meshes import read_mesh
from robench.masking.carry import carried_depth
from robench.reporting.contact_sheet import contact_sheet
from robench.reporting.labels import corruption_label
from robench.reporting.report import write_report
from robench.rng import generator

RECIPE = """\
name: evening
version: "1"
description: single, chained, mixed
reference: ours
cells:
  - {corruption: darker, severities: [1, 3]}
  - {name: far-and-dark, chain: [side_step:4, darker:2]}
  - {name: dusk, chain: [darker, iso_noise, side_step:1], severities: [1, 5]}
  - name: mixed
    mixture: {from: [darker, iso_noise, side_step, low_light], parts: [1, 3], count: 2}
    severities: [2, 4]
"""
INSTALLED = """\
name: installed
version: "1"
cells:
  - {name: roll-and-fog, chain: [camera_roll:2, fog_3d:3, iso_noise:1]}
  - {name: any, mixture: {from: [fog_3d, iso_noise, camera_roll, low_light], parts: 2}, severities: [3]}
"""


@pytest.fixture
def recipe(tmp_path: Path, plugins) -> Recipe:
    path = tmp_path / "evening.yaml"
    path.write_text(RECIPE)
    return read_recipe(path)


@pytest.fixture
def installed(tmp_path: Path) -> Recipe:
    """A recipe of installed corruptions, which worker processes know too."""
    path = tmp_path / "installed.yaml"
    path.write_text(INSTALLED)
    return read_recipe(path)


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def chain(text: str) -> Chain:
    """Return the chain that ``-c`` would read."""
    (cell,) = custom_recipe([text], [3]).cells
    return cell.made_of or Chain((Part(cell.corruption, cell.severities[0]),))


def made(inputs: Inputs, text: str, severity: int = 3, seed: int = 0) -> Picture:
    return Composed(chain(text)).picture(inputs, severity, seed)


# What a recipe may say.


def test_file_with_chains_and_mixtures(recipe: Recipe) -> None:
    assert recipe.conditions() == [
        ("clean", 0),
        ("darker", 1),
        ("darker", 3),
        ("far-and-dark", 4),
        ("dusk", 1),
        ("dusk", 5),
        ("mixed-1", 2),
        ("mixed-1", 4),
        ("mixed-2", 2),
        ("mixed-2", 4),
    ]
    by_name = {cell.corruption: cell.made_of for cell in recipe.cells}
    assert by_name["darker"] is None
    assert by_name["far-and-dark"] == Chain((Part("side_step", 4), Part("darker", 2)))
    assert by_name["dusk"] == Chain((Part("darker"), Part("iso_noise"), Part("side_step", 1)))
    names = ("darker", "iso_noise", "side_step", "low_light")
    assert by_name["mixed-2"] == Mixture(names, 1, 3, "drawn", 2)


def test_a_level_may_be_written_as_yaml_likes_it(tmp_path: Path, plugins) -> None:
    text = RECIPE.replace("[side_step:4, darker:2]", "[side_step: 4, {darker: 2}]")
    (tmp_path / "r.yaml").write_text(text)
    assert read_recipe(tmp_path / "r.yaml").cells[1].made_of == Chain((Part("side_step", 4), Part("darker", 2)))


def test_all_is_every_registered_corruption(tmp_path: Path, plugins) -> None:
    (tmp_path / "r.yaml").write_text(
        "name: r\nversion: '1'\ncells: [{name: m, mixture: {from: all, parts: 2, order: listed}, severities: [1]}]"
    )
    (cell,) = read_recipe(tmp_path / "r.yaml").cells
    assert cell.made_of == Mixture(tuple(registry.entries("corruptions")), 2, 2, "listed")
    assert cell.needs() == {"depth"}


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("side_step:4", "side_stop:4", 7, "did you mean 'side_step'"),
        ("side_step:4", "side_step:6", 7, "level '6' of 'side_step'"),
        ("side_step:4", "side_step:0", 7, "level '0' of 'side_step'"),
        ("side_step:4", '":4"', 7, "a part of a chain has no name"),
        ("side_step:4", "{side_step: 1, darker: 2}", 7, "not a single value"),
        ("[side_step:4, darker:2]", "[]", 7, "a chain has no part"),
        ("[side_step:4, darker:2]", "side_step:4", 7, "'chain' is not a list"),
        ("darker:2]}", "darker:2], severities: [1]}", 7, "has a level of its own"),
        ("darker:2]}", "darker]}", 7, "a part without a level, and no severities"),
        ("name: far-and-dark", "nom: far-and-dark", 7, "unknown key 'nom'"),
        ("name: far-and-dark", "name: low_light", 7, "is taken"),
        ("name: far-and-dark", "name: clean", 7, "is taken"),
        ("name: far-and-dark", "name: a/b", 7, "name of a folder"),
        ("name: far-and-dark", "name: ''", 7, "name of a folder"),
        ("name: far-and-dark", "name: dusk", 8, "the name 'dusk' is listed twice"),
        ("name: far-and-dark", "name: Dusk", 8, "the name 'dusk' is listed twice"),
        ("name: far-and-dark", "name: mixed-2", 9, "the name 'mixed-2' is listed twice"),
        ("{name: far-and-dark, chain", "{name: far-and-dark, chian", 7, "did you mean 'chain'"),
        ("chain: [side_step:4", "corruption: darker, chain: [side_step:4", 7, "unknown key 'corruption'"),
        ("[1, 5]", "[1, 7]", 8, "severity 7 of 'dusk'"),
        ("  - name: mixed", "  - nam: mixed", 9, "did you mean 'name'"),
        ("from: [darker, ", "from: [daker, ", 10, "did you mean 'darker'"),
        ("from: [darker, ", "from: [iso_noise, ", 10, "'iso_noise' is listed twice"),
        ("from: [darker, iso_noise, side_step, low_light]", "from: []", 10, "nothing to draw from"),
        ("from: [darker, iso_noise, side_step, low_light]", "from: darker", 10, "'from' is not a list"),
        ("parts: [1, 3]", "parts: [0, 3]", 10, "'parts' cannot be 0"),
        ("parts: [1, 3]", "parts: [1, 5]", 10, "whole number from 1 to 4"),
        ("parts: [1, 3]", "parts: [3, 1]", 10, "3 to 1 parts"),
        ("parts: [1, 3]", "parts: [1, 2, 3]", 10, "neither a number nor a pair"),
        ("count: 2", "count: many", 10, "'count' cannot be many"),
        ("count: 2", "order: sorted", 10, "the order 'sorted' is not known"),
        ("count: 2", "count: 2, count: 3", 10, "the key 'count' twice"),
        ("    severities: [2, 4]\n", "", 9, "a mixture has no 'severities'"),
    ],
)
def test_file_errors_name_the_line(tmp_path: Path, plugins, old: str, new: str, line: int, says: str) -> None:
    assert RECIPE.count(old) == 1
    path = tmp_path / "bad.yaml"
    path.write_text(RECIPE.replace(old, new))
    with pytest.raises(UsageError) as caught:
        read_recipe(path)
    assert f"{path}:{line}: " in str(caught.value)
    assert says in str(caught.value)


def test_command_line(plugins) -> None:
    recipe = choose_recipe(None, "side_step:4 + darker:2, low_light, iso_noise:5,darker+side_step", "1,2")
    assert recipe.conditions()[1:] == [
        ("side_step-4--darker-2", 4),
        ("low_light", 1),
        ("low_light", 2),
        ("iso_noise", 5),
        ("darker--side_step", 1),
        ("darker--side_step", 2),
    ]
    assert choose_recipe(None, "darker:2,darker:4", None).conditions()[1:] == [("darker", 2), ("darker", 4)]
    assert choose_recipe(None, "darker:2+iso_noise:1", None).name == "darker-2--iso_noise-1"
    with pytest.raises(UsageError, match=r"There is no corruption 'drker'.*did you mean 'darker'"):
        choose_recipe(None, "side_step + drker:2", None)
    with pytest.raises(UsageError, match="level '9' of 'darker'"):
        choose_recipe(None, "side_step+darker:9", None)
    with pytest.raises(UsageError, match="but -s is given too"):
        choose_recipe(None, "side_step:1+darker:2, darker:3", "1-5")
    with pytest.raises(UsageError, match="has no name"):
        choose_recipe(None, "side_step+", None)


def test_identity_names_every_part_and_level(recipe: Recipe, plugins) -> None:
    by_name = {name: (version, severities) for name, version, severities in recipe.identity()}
    assert by_name["far-and-dark"] == ("chain side_step@1:4 + darker@1:2", [4])
    assert by_name["dusk"] == ("chain darker@1 + iso_noise@1 + side_step@1:1", [1, 5])
    assert by_name["mixed-1"][0].startswith("mixture ")
    assert by_name["mixed-1"][0] != by_name["mixed-2"][0]

    class Newer(type(registry.load("corruptions", "darker"))):
        def __init__(self) -> None:
            super().__init__()
            self.card = Card("darker", "7", "another version", extra=self.card.extra)

    before = recipe.sha256()
    plugins.add("corruptions", "darker", Newer)
    newer = {name: version for name, version, _ in recipe.identity()}
    assert newer["far-and-dark"] == "chain side_step@1:4 + darker@7:2"
    assert newer["mixed-1"] != by_name["mixed-1"][0]
    assert recipe.sha256() != before


def test_manifest_keeps_what_a_cell_is_made_of(recipe: Recipe) -> None:
    for cell in recipe.cells:
        assert RecipeCell.from_json(json.loads(json.dumps(cell.to_json()))) == cell


def test_needs_are_those_of_all_parts(make_people, plugins) -> None:
    root = make_people(mesh=False)
    (root / "depth" / "s1_0.npz").unlink()
    samples, recipe = select(root).samples, custom_recipe(["darker:1+foggy:2", "darker:1+side_step:2"])
    with pytest.raises(UsageError, match=r"needs depth \(darker-1--foggy-2\), which 1 of 3 samples"):
        refuse_unable(samples, recipe)
    needs = needs_of(recipe)
    assert [c.key for c in plan_cells(samples, recipe) if not is_able(c, needs)] == [("s1_0", "darker-1--foggy-2", 2)]


# What the pictures are.


def test_chain_of_one_is_the_corruption(people: Path, plugins) -> None:
    sample = select(people).samples[0]
    for name in ("darker", "iso_noise", "camera_roll"):
        alone = OnTheFly(5).picture(Cell(sample, name, 2))
        composed = Composed(Chain((Part(name, 2),))).picture(Inputs(sample), 2, 5)
        assert np.array_equal(composed.image, alone.image)
        assert np.array_equal(composed.true_mask, alone.true_mask)
        assert composed.params["parts"][0]["params"] == alone.params


def test_seed_rule_of_parts(people: Path, plugins) -> None:
    inputs = Inputs(select(people).samples[1])
    drawn = made(inputs, "darker:2+darker:2+darker:2", seed=9).params["parts"]
    keys = [("darker@1",), ("darker@1", "part 2"), ("darker@1", "part 3")]
    expected = [float(generator(9, "s1_0", *key).uniform(0, 20)) for key in keys]
    assert [part["params"]["offset"] for part in drawn] == expected
    assert len(set(expected)) == 3
    assert [part["severity"] for part in drawn] == [2, 2, 2]


def test_parts_are_applied_in_their_order(people: Path, plugins) -> None:
    inputs = Inputs(select(people).samples[0])
    first = made(inputs, "color_quant:5 + side_step:2 + low_light:3")
    by_hand = inputs.image
    for position, (name, level) in enumerate([("color_quant", 5), ("side_step", 2), ("low_light", 3)]):
        params = first.params["parts"][position]["params"]
        by_hand = registry.load("corruptions", name).apply(by_hand, params, SimpleNamespace(depth=None)).image
        assert first.params["parts"][position] | {"params": {}} == {
            "corruption": name,
            "version": "1",
            "severity": level,
            "params": {},
        }
    assert np.array_equal(first.image, by_hand)
    other = made(inputs, "low_light:3 + side_step:2 + color_quant:5")
    assert not np.array_equal(other.image, first.image)


def test_levels_left_open_take_the_severity(people: Path, plugins) -> None:
    inputs = Inputs(select(people).samples[0])
    drawn = made(inputs, "darker + iso_noise:2 + side_step", severity=4).params["parts"]
    assert [part["severity"] for part in drawn] == [4, 2, 4]


def test_two_rolls_compose(people: Path) -> None:
    roll = registry.load("corruptions", "camera_roll")
    degrees = {s: roll.card.extra["severities"][s]["degrees"] for s in (1, 2)}
    inputs = Inputs(select(people).samples[1])
    twice = made(inputs, "camera_roll:1 + camera_roll:2")

    class Once(type(roll)):
        def sample(self, severity, shape, rng):
            return {"degrees": degrees[1] + degrees[2]}

    once = Once().apply(inputs.image, Once().sample(1, inputs.shape, None), None)
    assert np.allclose(twice.affine, once.affine, atol=1e-9)
    expected = inputs.camera.followed(once.affine)
    assert np.allclose(twice.camera.view_from_world, expected.view_from_world)
    assert np.allclose(twice.camera.centre, expected.centre)
    # The second resampling only blurs a little: away from the corners that were cut, the pictures agree.
    middle = (slice(12, -12),) * 2
    assert np.abs(twice.image[middle].astype(int) - once.image[middle].astype(int)).mean() < 3


def test_fog_after_a_roll_sees_rolled_depth(people: Path) -> None:
    inputs = Inputs(select(people).samples[0])
    picture = made(inputs, "camera_roll:3 + fog_3d:4")
    roll, fog = (registry.load("corruptions", name) for name in ("camera_roll", "fog_3d"))
    params = [part["params"] for part in picture.params["parts"]]
    rolled = roll.apply(inputs.image, params[0], None)
    # By hand: each new pixel looks back, takes the nearest old pixel's depth, and has none outside.
    inverse = np.linalg.inv(np.vstack([rolled.affine, [0, 0, 1]]))
    depth = np.full(inputs.shape, np.inf, np.float32)
    for y in range(inputs.shape[0]):
        for x in range(inputs.shape[1]):
            u, v, _ = np.floor(inverse @ (x, y, 1) + 0.5005).astype(int)
            if 0 <= u < inputs.shape[1] and 0 <= v < inputs.shape[0]:
                depth[y, x] = inputs.depth[v, u]
    assert np.array_equal(picture.image, fog.apply(rolled.image, params[1], SimpleNamespace(depth=depth)).image)
    wrong = fog.apply(rolled.image, params[1], SimpleNamespace(depth=inputs.depth)).image
    assert not np.array_equal(picture.image, wrong)
    assert picture.notes["parts"][0]["affine"] == rolled.affine.tolist()
    assert picture.notes["parts"][1]["notes"]["visibility_m"] > 0


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (5, 0), (-3, 7), (0, -60)])
def test_depth_moves_by_whole_pixels_exactly(dx: int, dy: int) -> None:
    depth = np.random.default_rng(0).uniform(1, 5, (40, 50)).astype(np.float32)
    depth[3, 4] = np.inf
    expected = np.full_like(depth, np.inf)
    ys, xs = slice(max(dy, 0), 40 + min(dy, 0)), slice(max(dx, 0), 50 + min(dx, 0))
    if abs(dy) < 40:
        expected[ys, xs] = depth[max(-dy, 0) : 40 - max(dy, 0), max(-dx, 0) : 50 - max(dx, 0)]
    assert np.array_equal(carried_depth(depth, np.array([[1.0, 0, dx], [0, 1, dy]])), expected)


class Step:
    """Shifts the picture to the right by a whole number of pixels, to the left if it is negative."""

    moves_pixels = True

    def __init__(self, name: str, px: int) -> None:
        self.px, self.seen = px, []
        self.card = Card(name, "1", "a step", extra={"severities": {s: {"px": px} for s in range(1, 6)}})

    def sample(self, severity, shape, rng):
        return {}

    def apply(self, image, params, aux):
        self.seen.append(aux)
        moved = np.zeros_like(image)
        if self.px > 0:
            moved[:, self.px :] = image[:, : -self.px]
        else:
            moved[:, : self.px] = image[:, -self.px :]
        return SimpleNamespace(image=moved, affine=np.array([[1.0, 0, self.px], [0, 1, 0]]), notes={})


def test_what_left_the_frame_stays_lost(people: Path, plugins) -> None:
    right, left, look = Step("right", 22), Step("left", -22), Step("look", -1)
    for step in (right, left, look):
        plugins.add("corruptions", step.card.name, lambda step=step: step)
    sample = select(people).samples[0]
    inputs = Inputs(sample)
    picture = made(inputs, "right:1 + left:1")
    width = inputs.shape[1]
    assert np.array_equal(picture.image[:, : width - 22], inputs.image[:, : width - 22])
    assert np.array_equal(picture.affine, [[1, 0, 0], [0, 1, 0]])
    kept = np.where(np.arange(width) < width - 22, inputs.mask, 0)
    assert 0 < kept.sum() < inputs.mask.sum(), "a part of the person is cut, not all"
    assert np.array_equal(picture.true_mask, kept)
    assert picture.drawn_mask, "the clean mask moved by the whole map would still show what was cut"
    made(inputs, "right:1 + left:1 + look:1")
    (seen,) = look.seen
    assert np.array_equal(seen.mask, kept)
    assert np.array_equal(seen.depth, np.where(np.arange(width) < width - 22, inputs.depth, np.inf))
    assert picture.depth is None, "nobody asked for depth"
    foggy = made(inputs, "right:1 + left:1 + foggy:1")
    assert np.array_equal(foggy.depth, seen.depth)
    assert seen.camera.centre == inputs.camera.centre


def test_each_part_sees_what_moved_before_it(people: Path, plugins) -> None:
    steps = [Step("one", 2), Step("two", 3), Step("three", 1)]
    for step in steps:
        plugins.add("corruptions", step.card.name, lambda step=step: step)
    inputs = Inputs(select(people).samples[0])
    picture = made(inputs, "one:1+two:1+three:1")
    for step, shift in zip(steps, (0, 2, 5), strict=True):
        (seen,) = step.seen
        assert seen.camera.centre[0] == inputs.camera.centre[0] + shift
        assert np.array_equal(seen.mask[:, shift:], inputs.mask[:, : inputs.shape[1] - shift])
        assert np.array_equal(seen.depth[:, shift:], inputs.depth[:, : inputs.shape[1] - shift])
    assert picture.camera.centre[0] == inputs.camera.centre[0] + 6
    assert not picture.drawn_mask


class Screen:
    """Hides the upper half of the person: draws mask and depth of its own."""

    moves_pixels = False
    card = Card("screen", "1", "a screen", extra={"severities": {s: {"share": s} for s in range(1, 6)}})

    def sample(self, severity, shape, rng):
        return {}

    def apply(self, image, params, aux):
        half = image.shape[0] // 2
        image[:half], mask, depth = 77, aux.mask.copy(), aux.depth.copy()
        mask[:half], depth[:half] = 0, 1.5
        return SimpleNamespace(image=image, affine=None, notes={}, mask=mask, depth=depth)


def test_a_drawn_mask_and_depth_move_on(people: Path, tmp_path: Path, plugins) -> None:
    plugins.add("corruptions", "screen", Screen)
    plugins.add("corruptions", "step", lambda: Step("step", 4))
    inputs = Inputs(select(people).samples[0])
    picture = made(inputs, "screen:1 + step:1")
    half, width = inputs.shape[0] // 2, inputs.shape[1]
    expected = inputs.mask.copy()
    expected[:half] = 0
    assert np.array_equal(picture.true_mask[:, 4:], expected[:, : width - 4])
    assert picture.drawn_mask
    assert (picture.depth[:half, 4:] == 1.5).all()
    assert np.isinf(picture.depth[:, :4]).all()
    report = write_set(select(people), custom_recipe(["screen:1+step:1"]), 0, tmp_path / "csets", quiet=True)
    cset = open_set(report.folder)
    for cell in plan_cells(cset.select().samples, cset.recipe):
        if cell.severity and cell.sample.sample_id == "s0_0":
            assert np.array_equal(cset.picture(cell).true_mask, picture.true_mask)


def test_camera_moves_compose_with_turns_of_the_picture(people: Path) -> None:
    """A camera that moves, rolls, moves and rolls again ends where its four steps take it."""
    rng = np.random.default_rng(3)
    camera = Inputs(select(people).samples[0]).camera

    def rigid() -> np.ndarray:
        matrix = np.eye(4)
        q, r = np.linalg.qr(rng.normal(size=(3, 3)))
        q = q * np.sign(np.diag(r))
        matrix[:3, :3], matrix[:3, 3] = q * np.sign(np.linalg.det(q)), rng.normal(size=3)
        return matrix

    def similarity() -> np.ndarray:
        c, s = rng.uniform(0.8, 1.2) * np.array([np.cos(a := rng.uniform(0, 6)), np.sin(a)])
        return np.array([[c, -s, rng.uniform(-9, 9)], [s, c, rng.uniform(-9, 9)]])

    image = np.zeros((camera.height, camera.width, 3), np.uint8)
    beside = Beside(SimpleNamespace(mask=None, depth=None, camera=camera), image.shape[:2])
    expected = camera
    for _ in range(3):
        change = Change(image, similarity(), {}, rigid())
        beside = beside.after(change)
        expected = expected.followed(change.affine, change.view_change)
    points = rng.normal(size=(20, 3)) * 50
    assert np.allclose(beside.camera.project(points), expected.project(points), atol=1e-6)
    total = beside.change(image, {}, with_depth=False)
    assert np.allclose(camera.followed(total.affine, total.view_change).project(points), expected.project(points))


def test_camera_that_tilts_in_a_rolled_picture_takes_the_truth_along(people: Path, tmp_path: Path) -> None:
    """In either order of roll and tilt the true mesh, seen by the camera of the row, falls on the mask."""
    recipe = custom_recipe(["camera_roll:3 + camera_pitch:4 + fog_3d:1", "camera_pitch:4 + camera_roll:3"])
    cset = open_set(write_set(select(people, limit=1), recipe, 0, tmp_path / "csets", quiet=True).folder)
    found = []
    for cell in plan_cells(cset.select().samples, cset.recipe):
        if cell.severity == 0:
            continue
        picture, inputs = cset.picture(cell), Inputs(cell.sample)
        pixels = picture.camera.project(read_mesh(cell.sample.mesh).vertices)[:, :2]
        rows, columns = np.nonzero(picture.true_mask > 0.5)
        for axis, where in ((0, columns), (1, rows)):
            assert pixels[:, axis].min() == pytest.approx(where.min(), abs=1.5)
            assert pixels[:, axis].max() == pytest.approx(where.max(), abs=1.5)
        row = cset.rows[cell.key]
        again = replay(row, inputs.image, inputs.depth, inputs.mask, inputs.scene, inputs.camera)
        assert pixels_sha256(again) == row["pixels_sha256"]
        assert picture.view_change is not None
        found.append(picture.camera.view_from_world)
    assert not np.allclose(*found), "a tilt in a rolled picture is another motion than a roll of a tilted one"


def test_scene_follows(people: Path) -> None:
    class Scene:
        def followed(self, change, affine):
            return ("followed", change, affine)

    clean = SimpleNamespace(mask=None, depth=None, scene=Scene())
    beside = Beside(clean, (8, 8))
    assert beside.scene is clean.scene
    beside = beside.after(Change(np.zeros((8, 8, 3), np.uint8)))
    assert beside.scene is clean.scene, "nothing moved"
    shift = np.array([[1.0, 0, 3], [0, 1, 0]])
    word, change, affine = beside.after(Change(np.zeros((8, 8, 3), np.uint8), shift)).scene
    assert (word, change) == ("followed", None)
    assert np.array_equal(affine, shift)


def test_maps_compose_from_the_last_to_the_first() -> None:
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(3, 2, 3))
    p = rng.normal(size=2)
    by_steps = p
    for m in (a, b, c):
        by_steps = m[:, :2] @ by_steps + m[:, 2]
    total = composed_affine(c, b, None, a)
    assert np.allclose(total[:, :2] @ p + total[:, 2], by_steps)
    assert left_frame((a,), (8, 8)) is None
    assert left_frame((np.eye(2, 3), a), (8, 8)) is None


# Mixtures.


def test_mixture_draws_as_it_says(plugins) -> None:
    mixture = Mixture(("darker", "iso_noise", "side_step", "low_light"), 1, 3)
    composed, found = Composed(mixture), []
    for index in range(300):
        parts = composed.draw(f"s{index}", 2, (32, 32), 0)["parts"]
        assert {part["severity"] for part in parts} == {2}
        names = [part["corruption"] for part in parts]
        assert len(set(names)) == len(names)
        found.append(names)
    counts = np.bincount([len(names) for names in found], minlength=4)
    assert counts[0] == 0
    assert (np.abs(counts[1:] - 100) < 30).all(), "5.2 standard deviations would be 42"
    firsts = [sum(names[0] == name for names in found) for name in mixture.corruptions]
    assert (np.abs(np.array(firsts) - 75) < 38).all()


def test_mixture_of_an_image_depends_on_seed_sample_and_version_only(plugins) -> None:
    names = ("darker", "iso_noise", "side_step", "low_light")

    def drawn(*, seed: int = 0, severity: int = 1, **fields) -> list[list[str]]:
        composed = Composed(Mixture(names, **{"least": 1, "most": 3, **fields}))
        ids = [f"s{i}" for i in range(12)]
        return [[p["corruption"] for p in composed.draw(i, severity, (32, 32), seed)["parts"]] for i in ids]

    assert drawn() == drawn(severity=4), "an image has the same corruptions at every severity"
    assert drawn() != drawn(seed=1)
    assert drawn() != drawn(draw=2)
    listed = drawn(order="listed")
    assert listed != drawn(order="drawn")
    assert all(names.index(a) < names.index(b) for row in listed for a, b in pairwise(row))


# Sets and runs.


def test_every_row_replays(recipe: Recipe, people: Path, tmp_path: Path) -> None:
    recipe = Recipe("more", "1", (*recipe.cells, *custom_recipe(["camera_roll:2 + fog_3d:3 + iso_noise:1"]).cells))
    cset = open_set(write_set(select(people), recipe, 3, tmp_path / "csets", quiet=True).folder)
    samples = {sample.sample_id: Inputs(sample) for sample in cset.select().samples}
    assert len(cset.rows) == 33
    for (sample_id, corruption, _), row in cset.rows.items():
        inputs = samples[sample_id]
        again = replay(row, inputs.image, inputs.depth, inputs.mask)
        assert pixels_sha256(again) == row["pixels_sha256"], row["path"]
        assert row["path"].startswith(f"images/{corruption}/{row['severity']}/")
    row = dict(cset.rows["s0_0", "far-and-dark", 4])
    row["params"] = row["params"].replace('"version": "1"', '"version": "0.9"')
    with pytest.raises(NotComparable, match=r"of 'side_step'.*expected 0\.9"):
        replay(row, samples["s0_0"].image)


def test_set_reads_back_as_made(recipe: Recipe, people: Path, tmp_path: Path, read_manifest) -> None:
    report = write_set(select(people), recipe, 0, tmp_path / "csets", quiet=True)
    cset, source = open_set(report.folder), OnTheFly(0, makers(recipe))
    assert cset.recipe == recipe
    assert sorted(cset.recipe_identity) == recipe.identity()
    for cell in plan_cells(cset.select().samples, cset.recipe):
        stored, fresh = cset.picture(cell), source.picture(cell)
        assert np.array_equal(stored.image, fresh.image)
        assert np.array_equal(stored.true_mask, fresh.true_mask)
        assert stored.camera.centre == fresh.camera.centre
        assert stored.params == fresh.params
    stored = {cell["corruption"]: cell for cell in read_manifest(report.folder)["recipe"]["cells"]}
    assert stored["far-and-dark"]["chain"] == [
        {"corruption": "side_step", "severity": 4},
        {"corruption": "darker", "severity": 2},
    ]
    assert stored["mixed-2"]["mixture"]["draw"] == 2


def test_processes_do_not_change_a_byte(installed: Recipe, people: Path, tmp_path: Path) -> None:
    one = write_set(select(people), installed, 0, tmp_path / "one", quiet=True)
    two = write_set(select(people), installed, 0, tmp_path / "two", jobs=2, quiet=True)
    assert content(one.folder) == content(two.folder)
    assert (one.images, one.failed) == (9, [])


def test_resumed_set_is_the_undisturbed_one(recipe: Recipe, people: Path, tmp_path: Path, monkeypatch) -> None:
    whole = content(write_set(select(people), recipe, 0, tmp_path / "whole", quiet=True).folder)
    calls = 0

    def stopping(self, cell, real=OnTheFly.picture):
        nonlocal calls
        calls += 1
        if calls == 13:
            raise KeyboardInterrupt
        return real(self, cell)

    with monkeypatch.context() as patch:
        patch.setattr(OnTheFly, "picture", stopping)
        with pytest.raises(KeyboardInterrupt):
            write_set(select(people), recipe, 0, tmp_path / "csets", quiet=True)
    again = write_set(select(people), recipe, 0, tmp_path / "csets", quiet=True)
    assert again.made == 30 - 12
    assert content(again.folder) == whole


def test_a_part_that_fails_is_a_failed_picture(people: Path, tmp_path: Path, plugins) -> None:
    class Broken(Step):
        def apply(self, image, params, aux):
            raise ZeroDivisionError("no step")

    plugins.add("corruptions", "broken", lambda: Broken("broken", 1))
    with pytest.raises(SampleFailure, match="broken raised ZeroDivisionError"):
        made(Inputs(select(people).samples[0]), "darker:1 + broken:1")
    report = write_set(select(people), custom_recipe(["darker:1+broken:1"]), 0, tmp_path / "csets", quiet=True)
    assert (report.images, len(report.failed)) == (3, 3)


def test_evaluate_tables_plots_and_sheet(recipe: Recipe, people: Path, tmp_path: Path) -> None:
    path = tmp_path / "evening.yaml"
    options = Options(
        model="toy", data=people, recipe=str(path), masker="given", out=tmp_path / "runs", quiet=True, in_process=True
    )
    run = evaluate(options)
    assert (run.cells, run.failed) == (30, 0)
    rows = read_rows(run.folder)
    versions = rows.groupby("corruption")["corruption_version"].unique().to_dict()
    assert list(versions["far-and-dark"]) == ["chain side_step@1:4 + darker@1:2"]
    assert set(rows.loc[rows["corruption"] == "far-and-dark", "severity"]) == {4}
    folder = write_set(select(people), recipe, 0, tmp_path / "csets", quiet=True).folder
    stored = evaluate(
        Options(model="toy", cset=folder, masker="given", out=tmp_path / "stored", quiet=True, in_process=True)
    )
    assert stored.folder.name == run.folder.name, "stored or made on the fly, the pictures are the same"
    said = json.loads((run.folder / "run.json").read_text())["recipe"]["composed"]
    assert said["far-and-dark"]["chain"][0] == {"corruption": "side_step", "severity": 4}
    table = degradation_table(rows, metrics=["height_error_cm"])
    labels = dict(zip(table["corruption"], table["severity"], strict=True))
    assert (labels["far-and-dark"], labels["dusk"], labels["mixed-1"]) == ("4", "1,5", "2,4")
    report = write_report([run.folder], tmp_path / "report", image_formats=("png",), metrics=["height_error_cm"])
    assert "far-and-dark" in set(report.table["corruption"])
    index = read_index(folder / INDEX)
    pictures = {
        (r["corruption"], r["severity"]): read_image(folder / r["path"]) for r in index if r["sample_id"] == "s0_0"
    }
    pictures["darker-2--iso_noise-3--side_step-4--low_light-5", 1] = pictures["clean", 0]
    assert contact_sheet(pictures, "evening").shape[1] < 2000, "a long name does not push the pictures away"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("fog_3d-2--iso_noise-3--h265_crf-4", "Fog 3D 2 + ISO noise 3 + H.265 CRF 4"),
        ("fog_3d--iso_noise", "Fog 3D + ISO noise"),
        ("foggy-call", "Foggy call"),
        ("foggy-call (unaligned)", "Foggy call (unaligned)"),
        ("h265_crf", "H.265 CRF"),
        ("jpeg_compression--webp-2", "JPEG compression + WebP 2"),
    ],
)
def test_labels(name: str, label: str) -> None:
    assert corruption_label(name) == label
