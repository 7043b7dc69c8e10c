"""Samples of an entry run again: equal on the same machine, different where somebody changed values, or left out."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from robench.analysis.provenance import Run
from robench.analysis.rows import read_rows
from robench.engine.conditions import Chain, Mixture, Part, RecipeCell
from robench.engine.evaluate import evaluate
from robench.engine.recipe_file import read_recipe
from robench.engine.tasks import Options
from robench.leaderboard.board import read_entry
from robench.leaderboard.entry import Entry
from robench.leaderboard.publish import Published, Wishes, publish
from robench.leaderboard.rerun import Means, NotRerun, compare, recipe_yaml, rerun
from robench.leaderboard.verify import places, verify, verify_by_rerun


@pytest.fixture
def published(people: Path, tmp_path: Path, plugins) -> tuple[Path, Entry]:
    """A toy model over two corruptions and a chain, published."""
    plugins.keep_only("metrics", "chamfer_cm", "mask_iou")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "{name: toys, version: '1', cells: [{corruption: darker, severities: [1, 3]},"
        "{corruption: side_step, severities: [2]}, {name: both, chain: ['darker:2', side_step], severities: [1]}]}"
    )
    run = evaluate(
        Options(
            "toy",
            data=people,
            recipe=str(recipe),
            masker="given",
            out=tmp_path / "runs",
            quiet=True,
            in_process=True,
            seed=3,
        )
    ).folder
    (made,) = publish([run], tmp_path / "leaderboards", Wishes({"licence": "MIT"}, "2026-11-21"))
    return tmp_path / "leaderboards", entry_of(tmp_path / "leaderboards", made)


def entry_of(root: Path, made: Published) -> Entry:
    (board,) = places(root)
    return read_entry(board, made.run_id, {})


def means(*data: Path, count: int = 2, seed: int = 0) -> Means:
    return Means(count, seed, data, {}, in_process=True)


def test_the_same_machine_gives_the_same_values(published: tuple[Path, Entry], people: Path) -> None:
    root, entry = published
    found = rerun(entry, means(people))
    assert found.differences == []
    assert found.largest == 0.0
    assert found.values == 2 * 3  # two subjects, clean and two conditions
    told = verify_by_rerun(root, means(people))
    assert [finding.kind for finding in told] == ["note"]
    assert verify(root).sound


def test_another_seed_draws_others(published: tuple[Path, Entry], people: Path, plugins) -> None:
    _, entry = published
    model = plugins.add_model()
    drawn = set()
    for seed in range(4):
        model.seen.clear()
        rerun(entry, means(people, count=1, seed=seed))
        drawn.add(tuple(model.seen))
    assert len(drawn) > 1


def test_made_up_values_are_found(published: tuple[Path, Entry], people: Path) -> None:
    _, entry = published
    assert entry.run is not None
    rows = entry.run.rows.copy()
    rows["value"] *= rows["metric"].map({"chamfer_cm": 0.9, "mask_iou": 1.0})
    found = rerun(Entry(entry.record, Run(entry.run.path, rows, {}, "")), means(people))
    assert {one.what for one in found.differences} == {"value"}
    assert len(found.differences) == found.values
    assert found.largest == pytest.approx(1 / 9)


def test_another_answer_of_the_model_is_found(published: tuple[Path, Entry], people: Path, plugins) -> None:
    from robench.contracts import Failure

    root, entry = published
    plugins.add_model(lambda request: Failure("failed", "today it does not work"))
    found = rerun(entry, means(people, count=1))
    assert {(one.what, one.got, one.expected) for one in found.differences} == {("status", "failed", "ok")}
    assert {f.kind for f in verify_by_rerun(root, means(people, count=1))} == {"note", "mismatch"}


def test_what_is_not_at_hand_is_named(published: tuple[Path, Entry], people: Path, make_people, plugins) -> None:
    root, entry = published
    with pytest.raises(NotRerun, match="no --data is folder of revision"):
        rerun(entry, means(make_people(2, name="others")))
    plugins.add_model(sha256="ab" * 32)
    with pytest.raises(NotRerun, match="checkpoint_sha256"):
        rerun(entry, means(people))
    plugins.keep_only("models", "mean-body")
    plugins._extra["models"].clear()
    (note,) = verify_by_rerun(root, means(people))
    assert (note.kind, note.message) == ("note", "not run again: the model 'toy' is not installed")


def test_other_versions_are_not_run(published: tuple[Path, Entry], people: Path, plugins) -> None:
    _, entry = published
    assert entry.run is not None
    rows = entry.run.rows.assign(corruption_version=entry.run.rows["corruption_version"].replace("1", "0"))
    with pytest.raises(NotRerun, match="'darker' was of version 0, and is of 1 here"):
        rerun(Entry(entry.record, Run(entry.run.path, rows, {}, "")), means(people))
    plugins.keep_only("metrics")
    with pytest.raises(NotRerun, match="metrics are of other versions"):
        rerun(entry, means(people))


def frame(**columns: object) -> pd.DataFrame:
    base = {"sample_id": "a", "corruption": "fog", "severity": 1, "metric": "m", "image_sha256": "x", "status": "ok"}
    return pd.DataFrame([{**base, "value": 1.0, **columns}])


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ({"value": 1.0099}, None),
        ({"value": 1.0101}, "value"),
        ({"value": float("nan")}, "value"),
        ({"image_sha256": "y"}, "image_sha256"),
        ({"status": "failed", "value": float("nan")}, "status"),
        ({"sample_id": "b"}, "row"),
    ],
)
def test_cells_are_held_to_the_tolerance(columns: dict[str, object], what: str | None) -> None:
    found = compare(frame(**columns), frame())
    assert [one.what for one in found.differences] == ([what] if what else [])


def test_small_values_have_an_absolute_tolerance() -> None:
    assert not compare(frame(value=0.004), frame(value=0.0)).differences
    assert compare(frame(value=0.006), frame(value=0.0)).differences


def test_a_drawn_recipe_is_read_as_it_was(tmp_path: Path) -> None:
    cells = (
        RecipeCell("fog_3d", (1, 3)),
        RecipeCell("dusk", (2,), Chain((Part("low_light"), Part("iso_noise", 3)))),
        RecipeCell("fixed", (4,), Chain((Part("low_light", 4), Part("iso_noise", 3)))),
    )
    (tmp_path / "recipe.yaml").write_text(recipe_yaml(cells))
    assert read_recipe(tmp_path / "recipe.yaml").cells == cells
    with pytest.raises(AssertionError):
        recipe_yaml([RecipeCell("mixed", (1,), Mixture(("fog_3d",), 1, 1))])


def test_published_rows_of_a_real_run_keep_everything(published: tuple[Path, Entry], tmp_path: Path) -> None:
    _, entry = published
    assert entry.run is not None
    (run,) = (tmp_path / "runs").iterdir()
    key = ["sample_id", "corruption", "severity", "metric"]
    ours, theirs = (frame.sort_values(key).reset_index(drop=True) for frame in (entry.run.rows, read_rows(run)))
    pd.testing.assert_frame_equal(ours, theirs[list(ours)])
