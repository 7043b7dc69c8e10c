"""A run: one row for everything, whatever happens; the same rows however often it was interrupted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench import registry
from robench.analysis import read_rows
from robench.contracts import Card, Failure, OpenReport, Reconstruction
from robench.engine.cset_writer import write_set
from robench.engine.evaluate import RunResult, evaluate
from robench.engine.masks import folder_name, load_masker, set_items, write_masks
from robench.engine.recipes import custom_recipe
from robench.engine.rows import COLUMNS, COST, FAILED
from robench.engine.selection import select
from robench.engine.tasks import Options, failure_limit, plan_task
from robench.errors import EnvironmentNotReady, NotComparable, UsageError
from robench.io.images import read_image, read_mask
from robench.io.meshes import read_mesh

KEY = ["sample_id", "corruption", "severity", "metric"]


@pytest.fixture
def options(people: Path, tmp_path: Path, plugins) -> Options:
    """Three subjects, clean and two corruptions at two severities: 15 cells, 30 rows."""
    return Options(
        model="toy",
        data=people,
        corruptions="darker,side_step",
        severities="1,3",
        masker="given",
        out=tmp_path / "runs",
        quiet=True,
        in_process=True,
    )


def rows_of(result: RunResult) -> pd.DataFrame:
    return read_rows(result.folder).sort_values(KEY).reset_index(drop=True)


def science(result: RunResult) -> pd.DataFrame:
    """Rows without what may differ between two runs of the same work."""
    return rows_of(result).drop(columns=list(COST))


def assert_same(one: RunResult, other: RunResult, *but: str) -> None:
    pd.testing.assert_frame_equal(science(one).drop(columns=list(but)), science(other).drop(columns=list(but)))


def test_rows_are_complete(options: Options) -> None:
    result = evaluate(options)
    assert (result.cells, result.made, result.failed) == (15, 15, 0)
    parts = sorted(p.name for p in (result.folder / "rows").iterdir())
    assert parts == ["part-0000.parquet"]
    stored = pd.read_parquet(result.folder / "rows" / parts[0])
    assert list(stored.columns) == list(COLUMNS)
    assert len(stored) == 30
    assert not stored.duplicated(["run_id", *KEY]).any()
    assert set(stored["status"]) == {"ok"}
    assert stored["failure_value"].isna().all(), "penalties are for failures"
    assert set(stored["mask_source"]) == {"gt"}
    assert set(stored["track"]) == {"given-mask"}
    same = ["model", "checkpoint_sha256", "dataset", "dataset_revision", "split_sha256", "cset_id", "robench_version"]
    assert stored[same].notna().all().all()
    assert (stored[same].nunique() == 1).all()
    assert stored.groupby(["sample_id", "corruption", "severity"])["mesh_sha256"].nunique().eq(1).all()


def test_run_json_says_what_it_was(options: Options) -> None:
    result = evaluate(options)
    said = json.loads((result.folder / "run.json").read_text())
    assert said["run_id"] == result.folder.name
    assert said["state"] == "complete"
    assert said["statuses"] == {"ok": 15}
    assert said["device"] == {"asked": "auto", "model": "cpu", "masker": "cpu"}
    assert said["protocol"]["penalty"]["model"] == "mean-body"
    assert [m["name"] for m in said["protocol"]["metrics"]] == ["height_error_cm", "mask_iou"]
    events = [json.loads(line)["event"] for line in (result.folder / "events.jsonl").read_text().splitlines()]
    assert events == ["started", "shard", "finished"]


def test_resumed_run_equals_an_undisturbed_one(options: Options, plugins) -> None:
    whole = evaluate(replace(options, out=options.out / "whole"))
    count = 0

    def stop(request):
        nonlocal count
        count += 1
        if count in (4, 9):
            raise KeyboardInterrupt

    model = plugins.add_model(stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            evaluate(options)
    result = evaluate(options)
    assert result.made == 15 - 3 - 4
    assert len(model.seen) == 15, "nothing done was done twice"
    assert_same(whole, result)
    assert evaluate(options).made == 0
    assert len(model.seen) == 15


def test_half_written_line_costs_one_cell(options: Options, plugins) -> None:
    whole = evaluate(replace(options, out=options.out / "whole"))

    def stop(request):
        if len(model.seen) == 6:
            raise KeyboardInterrupt

    model = plugins.add_model(stop)
    with pytest.raises(KeyboardInterrupt):
        evaluate(options)
    journal = next(options.out.glob("toy*/rows/part-0000.wip.jsonl"))
    data = journal.read_bytes()
    assert data.count(b"\n") == 6
    journal.write_bytes(data[:-30])
    plugins.add_model()
    result = evaluate(options)
    assert result.made == 10
    assert_same(whole, result)


def test_crash_between_part_and_journal(options: Options) -> None:
    result = evaluate(options)
    before = science(result)
    part = result.folder / "rows" / "part-0000.parquet"
    lines = [
        json.dumps([row])
        for row in pd.read_parquet(part).astype(object).where(lambda d: d.notna(), None).to_dict("records")
    ]
    (result.folder / "rows" / "part-0000.wip.jsonl").write_text("\n".join(lines) + "\n")
    again = evaluate(options)
    assert again.made == 0
    pd.testing.assert_frame_equal(science(again), before)
    assert [p.name for p in (result.folder / "rows").iterdir()] == ["part-0000.parquet"]


def test_fresh_starts_over(options: Options, plugins) -> None:
    first = evaluate(options)
    model = plugins.add_model()
    second = evaluate(replace(options, fresh=True))
    assert second.made == 15
    assert len(model.seen) == 15
    assert_same(first, second)


@pytest.mark.parametrize("size", [2, 4, 100])
def test_batches_do_not_change_rows(options: Options, size: int) -> None:
    one = evaluate(options)
    other = evaluate(replace(options, out=options.out / "b", batch_size=size))
    assert_same(one, other)


def test_stored_set_gives_the_rows_of_a_run_on_the_fly(options: Options, people: Path, tmp_path: Path) -> None:
    report = write_set(
        select(people), custom_recipe(["darker", "side_step"], [1, 3]), 0, tmp_path / "csets", quiet=True
    )
    fly = evaluate(options)
    stored = evaluate(
        replace(options, out=options.out / "b", data=None, cset=report.folder, corruptions=None, severities=None)
    )
    assert fly.folder.name == stored.folder.name, "the same work has the same name"
    assert_same(fly, stored)


def test_what_names_a_run(options: Options, plugins, people: Path) -> None:
    def name(**changes) -> str:
        return evaluate(replace(options, limit=1, **changes)).folder.name

    base = name()
    assert name() == base
    plugins.add_model(sha256="beef" * 16)
    assert name() != base
    plugins.add_model()
    assert name(masker="none") != base
    assert name(seed=3) != base
    assert name(severities="2") != base
    assert name(metrics=["mask_iou"]) != base
    assert name(device="cpu") == base
    assert name(batch_size=7) == base

    class Newer(type(registry.load("metrics", "height_error_cm"))):
        card = Card("height_error_cm", "2", "newer", extra={"unit": "cm", "direction": "lower"})

    plugins.add("metrics", "height_error_cm", Newer)
    assert name() != base


def test_failures_are_rows_with_the_mean_bodys_error(options: Options, plugins, people: Path) -> None:
    def behave(request):
        if request.sample_id == "s1_0":
            return Failure("timeout", "too slow")
        if request.sample_id == "s2_0":
            raise RuntimeError("CUDA out of memory")
        return None

    plugins.add_model(behave)
    result = evaluate(options)
    rows = rows_of(result)
    assert (result.cells, result.failed) == (15, 10)
    assert len(rows) == 30
    height = rows[rows["metric"] == "height_error_cm"]
    assert dict(height.groupby("sample_id")["status"].first()) == {"s0_0": "ok", "s1_0": "timeout", "s2_0": "oom"}
    failed = height[height["status"] != "ok"]
    assert failed["value"].isna().all()
    # Recomputed by hand: the mean body is as tall as the true mask's box, the subject as tall as its ellipsoid.
    for subject in (1, 2):
        mask = read_mask(people / "masks" / f"s{subject}_0.png")
        box = np.ptp(np.nonzero(mask > 0.5)[0]) + 1
        true = 2 * (61 + 8 * subject)
        expected = abs(box / 0.25 - true)
        got = failed.loc[failed["subject_id"] == f"s{subject}", "failure_value"]
        assert np.allclose(got, expected, atol=0.05)
        assert got.nunique() == 1, "the penalty is of the clean picture, whatever the corruption"
    masks = rows[rows["metric"] == "mask_iou"]
    assert set(masks["status"]) == {"ok"}, "the mask was there, whatever the model did with it"
    assert failed.loc[failed["status"] == "oom", "message"].str.contains("out of memory").all()


def test_masker_that_fails(options: Options, plugins) -> None:
    class Blind(type(load_masker("none"))):
        source = "predicted"
        card = Card("blind", "1", "fails")

        def mask(self, image):
            raise ValueError("nothing seen")

    plugins.add("maskers", "blind", Blind)
    rows = rows_of(evaluate(replace(options, masker="blind")))
    assert set(rows["status"]) == {"failed"}
    assert set(rows["mask_source"]) == {"predicted:blind"}
    assert set(rows["track"]) == {"image-only"}
    assert rows["message"].str.contains("nothing seen").all()
    iou = rows[rows["metric"] == "mask_iou"]
    assert (iou["failure_value"] == 0).all(), "a mask that is not there overlaps with nothing"
    assert rows["image_sha256"].notna().all()
    assert rows["mask_sha256"].isna().all()


def test_blank_mask_is_no_detection(options: Options, plugins) -> None:
    class Blank(type(load_masker("none"))):
        source = "predicted"
        card = Card("blank", "1", "sees nobody")

        def mask(self, image):
            return np.zeros(image.shape[:2], np.float32)

    plugins.add("maskers", "blank", Blank)
    rows = rows_of(evaluate(replace(options, masker="blank", limit=1)))
    height = rows[rows["metric"] == "height_error_cm"]
    assert set(height["status"]) == {"no_detection"}
    assert height["failure_value"].gt(0).all()
    assert (rows.loc[rows["metric"] == "mask_iou", "value"] == 0).all()


@pytest.mark.parametrize("damage", ["images/s1_0.png", "masks/s1_0.png", "meshes/s1_0.ply"])
def test_bad_file_costs_its_sample_only(options: Options, people: Path, damage: str) -> None:
    (people / damage).write_bytes(b"broken")
    result = evaluate(options)
    rows = rows_of(result)
    assert len(rows) == 30
    good = rows[rows["sample_id"] != "s1_0"]
    assert set(good["status"]) == {"ok"}
    bad = rows[(rows["sample_id"] == "s1_0") & (rows["metric"] == "height_error_cm")]
    assert set(bad["status"]) == {"failed"}
    assert bad["message"].str.contains("s1_0").all()
    # With a readable ground truth there is a penalty, whatever else is broken.
    assert bad["failure_value"].notna().all() == (not damage.startswith("meshes"))
    events = (result.folder / "events.jsonl").read_text()
    assert '"event": "failed"' in events
    assert "Traceback" in events


def test_metric_that_raises_or_gives_nan_is_a_row(options: Options, plugins) -> None:
    class Odd(type(registry.load("metrics", "height_error_cm"))):
        card = Card("odd", "1", "odd", extra={"unit": "1", "direction": "higher"})

        def __call__(self, scene):
            if scene.camera.centre[0] > 24:
                raise ZeroDivisionError("by hand")
            return float("nan")

    plugins.add("metrics", "odd", Odd)
    rows = rows_of(evaluate(replace(options, metrics=["odd"])))
    assert set(rows.loc[rows["corruption"] == "side_step", "status"]) == {"failed"}
    assert set(rows.loc[rows["corruption"] != "side_step", "status"]) == {"degenerate"}
    assert rows["value"].isna().all()


def test_photographs_are_reconstructed_and_not_scored(options: Options, make_people) -> None:
    photos = make_people(mesh=False, mask=False, depth=False, name="photos")
    result = evaluate(replace(options, data=photos, masker="none", keep="all"))
    rows = rows_of(result)
    assert set(rows["status"]) == {"skipped"}
    assert rows["mesh_sha256"].notna().all()
    assert rows["failure_value"].isna().all()
    assert len(list((result.folder / "meshes").rglob("*.ply.gz"))) == 15


def test_skip_unable_is_rows_too(options: Options, people: Path) -> None:
    (people / "depth" / "s1_0.npz").unlink()
    (people / "meshes" / "s1_0.ply").unlink()
    options = replace(options, corruptions="foggy")
    with pytest.raises(UsageError, match="1 of 3 samples"):
        evaluate(options)
    assert not options.out.exists()
    rows = rows_of(evaluate(replace(options, skip_unable=True)))
    assert len(rows) == 18
    skipped = rows[rows["message"].fillna("").str.contains("needs depth")]
    assert set(zip(skipped["sample_id"], skipped["corruption"], strict=True)) == {("s1_0", "foggy")}
    assert skipped["message"].str.contains("needs depth").all()


class Oracle:
    """Knows the truth and puts it where the camera of the picture sees it."""

    def __init__(self, people: Path) -> None:
        self.people = people
        self.card = Card("oracle", "1", "knows", extra={"inputs_used": ["camera"]})

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


def test_roll_moves_the_truth_and_the_unaligned_score_is_kept(options: Options, plugins, people: Path) -> None:
    plugins.add("models", "oracle", lambda: Oracle(people))
    plugins.keep_only("metrics", "chamfer_cm", "chamfer_unaligned_cm", "mask_iou")
    metrics = ["chamfer_cm", "chamfer_unaligned_cm", "mask_iou"]
    options = replace(options, model="oracle", corruptions="camera_roll,darker", severities="5", metrics=metrics)
    rows = rows_of(evaluate(options))
    assert set(rows["status"]) == {"ok"}
    value = rows.set_index(["metric", "corruption", "sample_id"]).sort_index()["value"]
    assert value["chamfer_cm"].max() < 0.5, "who knows the camera is right under roll too"
    assert value["mask_iou"].min() > 0.999
    assert value["chamfer_unaligned_cm", "camera_roll"].min() > 5
    for corruption in ("clean", "darker"):
        assert (value["chamfer_unaligned_cm", corruption] == value["chamfer_cm", corruption]).all()


def test_ground_truth_is_read_once_a_sample(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    from robench.io import meshes

    read: list[str] = []
    real = meshes.read_mesh
    monkeypatch.setattr(meshes, "read_mesh", lambda path, *rest: read.append(path.name) or real(path, *rest))
    evaluate(options)
    assert read == ["s0_0.ply", "s1_0.ply", "s2_0.ply"]


@pytest.mark.parametrize(("keep", "count"), [("none", 0), ("examples", 3 * 5), ("failed", 3 * 5 + 5), ("all", 4 * 5)])
def test_what_is_kept(options: Options, plugins, make_people, keep: str, count: int) -> None:
    plugins.add_model(lambda r: Failure("failed", "no") if r.sample_id in ("s1_0", "s3_0") else None)
    people = make_people(4, name="four")
    result = evaluate(replace(options, data=people, keep=keep))
    about = [json.loads(p.read_text()) for p in sorted((result.folder / "examples").rglob("*.json"))]
    assert len(about) == count
    failed = {"s1_0", "s3_0"} if keep in ("failed", "all") else {"s1_0"}
    assert {a["sample_id"] for a in about if a["mesh"] is None} == (failed if count else set())
    for entry in about:
        assert read_image(result.folder / entry["image"]).shape == (48, 48, 3)
        if entry["mesh"] is not None:
            assert not read_mesh(result.folder / entry["mesh"]).is_empty


def test_examples_are_of_different_subjects(options: Options, make_people) -> None:
    people = make_people(3, (0.0, 90.0), name="two_views")
    assert plan_task(replace(options, data=people)).examples == {"s0_0", "s1_0", "s2_0"}


def test_stored_masks_are_used(options: Options, people: Path, tmp_path: Path, plugins) -> None:
    calls = []

    class Counting(type(load_masker("none"))):
        source = "predicted"
        card = Card("counting", "1", "counts", extra={"weights_hash": "sha256:1"})

        def mask(self, image):
            calls.append(1)
            return (image[..., 0] > 130).astype(np.float32) * np.float32(0.7)

    plugins.add("maskers", "counting", Counting)
    folder = write_set(select(people), custom_recipe(["darker"], [2]), 0, tmp_path / "csets", quiet=True).folder
    base = replace(options, data=None, cset=folder, corruptions=None, severities=None, masker="counting")
    without = evaluate(replace(base, out=options.out / "a"))
    from robench.engine.cset import open_set

    report = write_masks(
        set_items(open_set(folder)), folder / "masks" / folder_name(Counting()), Counting(), "cpu", about={}, quiet=True
    )
    assert (report.masks, report.made, len(calls)) == (6, 6, 12)
    with_stored = evaluate(replace(base, out=options.out / "b"))
    assert len(calls) == 12, "no picture was masked again"
    assert_same(without, with_stored)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "toi"}, "did you mean 'toy'"),
        ({"masker": "givn"}, "did you mean 'given'"),
        ({"metrics": ["mask_iuo"]}, "did you mean 'mask_iou'"),
        ({"corruptions": "darkr"}, "did you mean 'darker'"),
        ({"severities": "6"}, "1 to 5"),
        ({"recipe": "2d-priors"}, "already says"),
        ({"keep": "al"}, "did you mean 'all'"),
        ({"data": None}, "--data FOLDER or --cset FOLDER"),
        ({"data": Path("/nowhere/at/all")}, "/nowhere/at/all"),
        ({"checkpoint": Path("none.pt")}, "no checkpoint"),
        ({"subjects": ["s9"]}, "no subject 's9'"),
        ({"model_options": {"resolution": "64"}}, "no option 'resolution'"),
        ({"split": "test"}, "test"),
    ],
)
def test_wrong_options_are_told_before_anything_is_written(options: Options, changes: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        evaluate(replace(options, **changes))
    assert not options.out.exists()


def test_a_set_fixes_its_options(options: Options, people: Path, tmp_path: Path) -> None:
    folder = write_set(select(people), custom_recipe(["darker"], [2]), 4, tmp_path / "csets", quiet=True).folder
    base = replace(options, data=None, cset=folder, corruptions=None, severities=None)
    assert plan_task(base).seed == 4
    with pytest.raises(UsageError, match="already fixes the seed"):
        plan_task(replace(base, seed=0))
    assert len(plan_task(replace(base, limit=2)).selection.samples) == 2
    with pytest.raises(UsageError, match="is a corrupted set, not a data set"):
        plan_task(replace(options, data=folder))


def test_masker_that_needs_masks(options: Options, make_people) -> None:
    with pytest.raises(UsageError, match=r"needs the data's own masks, which 3 of 3 samples.*u2netp-anny"):
        evaluate(replace(options, data=make_people(mask=False, name="bare")))


def test_model_options_are_set_and_name_the_run(options: Options, plugins) -> None:
    plain = evaluate(replace(options, limit=1)).folder.name
    model = plugins.add_model()
    said = {"resolution": "a power of two", "crop": ["none", "auto"]}
    model.card = replace(model.card, extra={**model.card.extra, "options": said})
    model.resolution, model.crop = 128, "none"
    names = {plain, evaluate(replace(options, limit=1)).folder.name}
    for given in ({"resolution": "64"}, {"resolution": "64", "crop": "auto"}):
        names.add(evaluate(replace(options, limit=1, model_options=given)).folder.name)
    assert len(names) == 4
    assert (model.resolution, model.crop) == (64, "auto")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"resolutoin": "64"}, "did you mean 'resolution'"),
        ({"resolution": "many"}, "a power of two"),
        ({"crop": "atuo"}, "did you mean 'auto'"),
    ],
)
def test_wrong_model_options(options: Options, plugins, given: dict, says: str) -> None:
    model = plugins.add_model()
    said = {"resolution": "a power of two", "crop": ["none", "auto"]}
    model.card = replace(model.card, extra={**model.card.extra, "options": said})
    model.resolution, model.crop = 128, "none"
    with pytest.raises(UsageError, match=says):
        evaluate(replace(options, model_options=given))


def test_two_runs_do_not_write_one_folder(options: Options, plugins) -> None:
    refused = []

    def again(request):
        with pytest.raises(UsageError, match="Another robench") as caught:
            evaluate(options)
        refused.append(caught.value)

    plugins.add_model(again)
    evaluate(options)
    assert len(refused) == 15


def test_another_run_in_the_folder(options: Options) -> None:
    folder = evaluate(options).folder
    said = json.loads((folder / "run.json").read_text()) | {"checkpoint_sha256": "1" * 64}
    (folder / "run.json").write_text(json.dumps(said))
    with pytest.raises(NotComparable, match="its checkpoint_sha256 differs"):
        evaluate(options)


def test_full_disk_keeps_finished_rows(options: Options, plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from robench.engine.journal import Journal

    whole = evaluate(replace(options, out=options.out / "whole"))
    real, count = Journal.append, 0

    def append(self, item):
        nonlocal count
        count += 1
        if count > 4:
            from robench.io.files import explained

            with explained(self.path):
                raise OSError(errno.ENOSPC, "no space", str(self.path))
        real(self, item)

    monkeypatch.setattr(Journal, "append", append)
    with pytest.raises(EnvironmentNotReady, match="disk is full"):
        evaluate(options)
    monkeypatch.setattr(Journal, "append", real)
    result = evaluate(options)
    assert result.made == 11
    assert_same(whole, result)


@pytest.mark.parametrize(
    ("text", "cells", "allowed"),
    [(None, 10, 9), (None, 0, 0), ("0", 10, 0), ("20", 10, 20), ("5%", 200, 10), ("2.5%", 200, 5)],
)
def test_failure_limit(text: str | None, cells: int, allowed: float) -> None:
    assert failure_limit(text)(cells) == allowed


@pytest.mark.parametrize("text", ["a", "", "-3", "1.5", "5 %%", "nan"])
def test_failure_limit_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="5%"):
        failure_limit(text)


def test_statuses_are_the_schemas() -> None:
    assert FAILED | {"ok", "skipped"} == {"ok", "failed", "timeout", "oom", "no_detection", "degenerate", "skipped"}
