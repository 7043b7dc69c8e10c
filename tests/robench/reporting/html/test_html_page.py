"""The page as text: one file, escaped, bounded, the same every time; its meshes, pictures, tables and samples."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from robench.analysis import degradation_table, read_rows, scored, summary
from robench.contracts import Camera, Mesh
from robench.errors import UsageError
from robench.geometry import point_to_surface
from robench.reporting import examples
from robench.reporting.html import page as html
from robench.reporting.html.facts import facts_of
from robench.reporting.html.names import Series, known, script_json, series_names, series_of
from robench.reporting.html.pictures import cut, turned
from robench.reporting.html.samples import badness, gather, scores_of
from robench.reporting.html.solids import packed, simplified, vertex_errors
from robench.reporting.html.tables import failures_table, summary_table, worst_table
from robench.reporting.qualitative import Window, from_the_side, windows_around
from robench.reporting.report import write_report

ATTACK = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}\u202e\x1b[2J\u2028"


class Found(HTMLParser):
    """Collects elements, their attributes, and the texts of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[-1] += data


def data_of(text: str) -> Any:
    found = Found(text)
    scripts = [attributes for tag, attributes in found.elements if tag == "script"]
    return json.loads(found.scripts[scripts.index({"type": "application/json", "id": "report-data"})])


@pytest.fixture(scope="module")
def text(page_file: Path) -> str:
    return page_file.read_text(encoding="utf-8")


def test_nothing_in_the_file_points_outside_of_it(text: str) -> None:
    for tag, attributes in Found(text).elements:
        assert tag not in {"iframe", "object", "embed", "base", "form"}
        for name in ("src", "href", "action", "srcset", "poster"):
            value = attributes.get(name) or ""
            assert value.startswith(("#", "data:")) or not value, (tag, value)
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
    style = re.search(r"<style>(.*?)</style>", text, re.S)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_the_policy_lets_exactly_our_scripts_run(text: str) -> None:
    found = Found(text)
    policy = next(a["content"] for tag, a in found.elements if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    assert "default-src 'none'" in policy
    script_rule = re.search(r"script-src ([^;]*);", policy)
    assert script_rule is not None
    code = [script for script in found.scripts if not script.startswith("{")]
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in code]
    assert script_rule[1].split() == [f"'sha256-{value}'" for value in hashes]


def test_the_plotting_library_keeps_its_licence_note(text: str) -> None:
    assert "Licensed under the MIT license" in text


def test_hostile_names_are_text_everywhere(kept_run: Any, toy_rows: Any, tmp_path: Path) -> None:
    run = kept_run(tmp_path / "run", "toy", 38.0)
    rows = toy_rows(model=ATTACK)
    for name in ("run_id", "subject_id", "sample_id", "masker", "message", "dataset"):
        rows[name] = ATTACK
    rows["corruption"] = rows["corruption"].replace({"fog_3d": ATTACK, "camera_roll": f"{ATTACK}2"})
    rows["sample_id"] = [f"{ATTACK}{index // 4 % 4}" for index in range(len(rows))]
    rows["subject_id"] = rows["sample_id"]
    rows.to_parquet(run / "rows" / "part-0000.parquet")
    (run / "run.json").write_text(json.dumps({"state": ATTACK, "model": ATTACK, "protocol": {"penalty": [1]}}))
    record = run / "examples" / "fog_3d" / "3" / "s0_0.json"
    about = json.loads(record.read_text())
    record.write_text(
        json.dumps(about | {"status": ATTACK, "message": ATTACK, "sample_id": ATTACK, "corruption": ATTACK})
    )
    report = write_report([run], tmp_path / "out", ["html"])
    page = report.files[0].read_text(encoding="utf-8")
    found = Found(page)
    assert len(found.scripts) == 3
    assert not [attributes for tag, attributes in found.elements if tag == "img"]
    assert "\x1b" not in page.replace(html.plotly(), "")
    assert "\u202e" not in page.replace(html.plotly(), "")
    data = data_of(page)
    assert data["series"][0].startswith("</script><script>alert(1)")
    assert "{{ 7*7 }}" in data["series"][0], "a name is no template"
    assert any(entry["label"].startswith("</script>") for entry in data["samples"]["entries"])


def test_json_cannot_leave_its_element() -> None:
    data = {"a": "</script><!--&\u2028\u2029'\"é"}
    written = script_json(data)
    assert json.loads(written) == data
    assert not set("<>&\u2028\u2029") & set(written)
    with pytest.raises(ValueError, match="JSON"):
        script_json({"a": float("nan")})


def test_numbers_that_are_missing_stay_missing() -> None:
    assert [known(value) for value in (float("nan"), float("inf"), 2.0, 0.123456789, "a\x1b", None)] == [
        None, None, 2, 0.123457, "a\\x1b", None,
    ]  # fmt: skip


def test_series_have_the_shortest_names_that_tell_them_apart() -> None:
    assert series_names([Series("a", "r1", "m"), Series("b", "r2", "m")]) == ["a", "b"]
    assert series_names([Series("a", "r1", "m"), Series("a", "r1", "n")]) == ["a, m", "a, n"]
    assert series_names([Series("a", "r1", "m"), Series("a", "r2", "m")]) == ["r1", "r2"]


def test_the_page_is_the_same_every_time_and_tells_no_path(
    kept_run: Any, true_balls: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examples, "truth_meshes", true_balls)
    run = kept_run(tmp_path / "run", "toy", 38.0)
    first, second = (write_report([run], tmp_path / name, ["html"]).files[0].read_bytes() for name in "ab")
    assert first == second
    assert b"/secret/place" not in first
    assert str(tmp_path).encode() not in first


def test_a_report_of_one_page_draws_no_other_plots_unless_asked(kept_run: Any, tmp_path: Path) -> None:
    run = kept_run(tmp_path / "run", "toy", 38.0)
    names = {path.name for path in write_report([run], None, ["html", "svg"]).files}
    assert {"report.html", "bars_chamfer_cm.svg", "qualitative.svg"} <= names
    assert not [name for name in names if name.endswith((".png", ".pdf"))]
    with pytest.raises(UsageError, match=r"no such format.*html"):
        write_report([run], None, ["htm"])


def test_damaged_examples_cost_their_pictures_and_are_named(kept_run: Any, tmp_path: Path) -> None:
    run = kept_run(tmp_path / "run", "toy", 38.0)
    (run / "meshes/fog_3d/1/s0_0.ply.gz").write_bytes(b"damaged")
    report = write_report([run], None, ["html"])
    assert any("No pictures" in text for text in report.warnings)
    page = report.files[0].read_text(encoding="utf-8")
    assert data_of(page)["samples"]["entries"] == []
    assert "No pictures of run" in page
    flat = json.loads((run / "examples/fog_3d/1/s0_0.json").read_text())
    flat["camera"]["view_from_world"] = [[0.0] * 4] * 4
    (run / "examples/fog_3d/1/s0_0.json").write_text(json.dumps(flat))
    assert any("not a record" in text for text in write_report([run], None, ["html"]).warnings)


def analysed(run: Path) -> tuple[pd.DataFrame, list[Series]]:
    rows = read_rows(run)
    return scored(rows), series_of(degradation_table(rows, resamples=100))


def test_worst_samples_come_first_and_each_condition_is_there(kept_run: Any, tmp_path: Path) -> None:
    run = kept_run(tmp_path / "run", "toy", 38.0)
    rows, series = analysed(run)
    scores = scores_of(rows, series, ["chamfer_cm"])
    found = gather([(run, 0)], scores, "chamfer_cm", "lower", 10_000_000)
    assert len(found.entries) == 10
    own = rows[rows["metric"] == "chamfer_cm"].set_index(["corruption", "severity", "sample_id"])["score"]
    values = [own[(entry["corruption"], entry["severity"], entry["sample"])] for entry in found.entries]
    assert values == sorted(values, reverse=True)
    for entry, value in zip(found.entries, values, strict=True):
        score, clean = entry["scores"]["0"]["chamfer_cm"]
        assert score == pytest.approx(value, rel=1e-5)
        assert clean == pytest.approx(own[("clean", 0, entry["sample"])], rel=1e-5)
    solids = [part["solid"] for entry in found.entries for part in entry["runs"].values() if "solid" in part]
    room = (sum(map(len, found.pictures.values())) + sum(len(solid["v"]) + len(solid["f"]) for solid in solids)) // 2
    fewer = gather([(run, 0)], scores, "chamfer_cm", "lower", room)
    assert 0 < len(fewer.entries) < 10
    assert fewer.left_out == 10 - len(fewer.entries)
    conditions = {(entry["corruption"], entry["severity"]) for entry in fewer.entries}
    assert len(conditions) >= min(4, len(fewer.entries)), "another condition rather than a second sample of one"


def test_the_page_keeps_below_its_limit(
    kept_run: Any, true_balls: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examples, "truth_meshes", true_balls)
    monkeypatch.setattr(html, "LIMIT", 5_200_000)
    run = kept_run(tmp_path / "run", "toy", 38.0)
    page = write_report([run], None, ["html"]).files[0]
    assert page.stat().st_size <= 5_200_000
    samples = data_of(page.read_text(encoding="utf-8"))["samples"]
    assert 0 < len(samples["entries"]) < 10
    assert samples["leftOut"] == 10 - len(samples["entries"])


def test_badness_knows_which_way_is_worse() -> None:
    assert badness({"m": [2.0, 1.0]}, "m", "lower") > badness({"m": [1.0, 1.0]}, "m", "lower")
    assert badness({"m": [0.2, 1.0]}, "m", "higher") > badness({"m": [0.9, 1.0]}, "m", "higher")
    assert badness({"m": [None, 1.0]}, "m", "higher") == badness({}, "m", "lower") == float("inf")


def unpacked(solid: dict[str, Any]) -> Mesh:
    vertices = np.frombuffer(base64.b64decode(solid["v"]), "<u2").reshape(-1, 3) * solid["step"] + solid["low"]
    faces = np.frombuffer(base64.b64decode(solid["f"]), "<u2").reshape(-1, 3).astype(np.int32)
    return Mesh(vertices.astype(np.float32), faces)


def test_a_packed_mesh_is_the_mesh_within_a_fraction_of_a_millimetre(toy_ball: Any) -> None:
    ball, truth = toy_ball(40.0), toy_ball(45.0, fine=60)
    errors = vertex_errors(ball, truth)
    solid = packed(ball, errors)
    again = unpacked(solid)
    assert np.abs(again.vertices - ball.vertices).max() < 0.01
    assert (again.faces == ball.faces).all()
    read = np.frombuffer(base64.b64decode(solid["e"]), np.uint8) * solid["etop"] / 255
    assert np.abs(read - errors).max() <= solid["etop"] / 400
    assert read.mean() == pytest.approx(5.0, abs=0.1)
    assert "e" not in packed(ball)


def test_a_simplified_mesh_lies_on_the_mesh(toy_ball: Any) -> None:
    ball = toy_ball(40.0, fine=80)
    small = simplified(ball, 2000)
    assert len(ball.faces) > 20_000
    assert 1500 <= len(small.faces) <= 2100
    assert point_to_surface(small.vertices, ball.vertices, ball.faces).max() < 0.6
    loose = replace(toy_ball(1.0), vertices=np.concatenate([toy_ball(1.0).vertices, [[99, 99, 99]]]).astype(np.float32))
    assert simplified(loose).vertices.max() <= 1.001, "a vertex without a face is no part of the surface"


def test_the_four_sides_are_quarter_turns_of_the_person(toy_camera: Camera) -> None:
    middle = np.array([5.0, 0.0, 3.0])
    left = np.array([[15.0, 2.0, 3.0]])  # ten centimetres to the person's left of the middle
    front = np.array([[5.0, 2.0, 13.0]])  # ten before it
    shown = {q: [turned(toy_camera, middle, q).project(p)[0] for p in (left, front)] for q in range(4)}
    at = {q: [(round(u - 63.5, 6), round(63.5 - v, 6)) for u, v, _ in points] for q, points in shown.items()}
    assert at == {0: [(10, 2), (0, 2)], 1: [(0, 2), (-10, 2)], 2: [(-10, 2), (0, 2)], 3: [(0, 2), (10, 2)]}
    depths = {q: [point[2] for point in points] for q, points in shown.items()}
    assert depths[1][0] < depths[3][0], "from the left, the left side is nearer"
    assert depths[2][1] > depths[0][1], "from the back, the front is farther"
    side = from_the_side(toy_camera, middle)
    assert np.allclose(side.project(left), turned(toy_camera, middle, 1).project(left))


def test_a_cut_shows_the_window_and_grey_beyond_the_picture() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[10:20, 10:20] = 255
    got = cut(image, Window(14.5, 14.5, 5.0, 5.0), height=50)
    assert got.shape == (50, 50, 3)
    assert got.min() > 250
    beyond = cut(image, Window(-0.5, 19.5, 20.0, 20.0), height=40)
    assert (beyond[:, :18] == 240).all()
    assert (beyond[:5, 22:] == 0).all()


def test_a_lying_person_fits_into_the_window() -> None:
    (window,) = windows_around([(10.0, 40.0, 110.0, 70.0)])
    assert window.half_width >= 50
    assert window.half_height >= window.half_width / 1.2 - 1e-9


def test_tables_list_failures_once_and_the_worst_first(toy_rows: Any, tmp_path: Path) -> None:
    rows = toy_rows()
    names = {one: "toy" for one in series_of(rows.assign(run_id=rows["run_id"]))}
    failed = failures_table(scored(rows), names)
    assert [[cell.text for cell in row] for row in failed.rows] == [["toy", "s0_0", "Fog 3D", "3", "failed", "boom"]]
    assert "chamfer_cm, chamfer_unaligned_cm, p2s_pred_to_gt_cm" in failed.csv
    worst = worst_table(scored(rows), names, "chamfer_cm", most=3)
    orders = [row[4].order for row in worst.rows]
    assert orders == sorted(orders, reverse=True)  # type: ignore[type-var]
    assert worst.rows[0][1].text == "s0_0"
    assert worst.rows[0][4].text == "9.00", "a failure stands with its penalty"
    assert worst.note
    headline = summary(rows, resamples=100)
    row = summary_table(headline, names).rows[0]
    assert row[4].text == f"{headline['ratio'][0]:.2f}×"
    assert row[6].text.startswith("1/20")


def test_facts_of_a_run_without_a_record_are_none(tmp_path: Path) -> None:
    assert facts_of(tmp_path / "gone") == ("gone", [])
    (tmp_path / "run.json").write_text('{"model": ["x"], "cards": 3, "protocol": {"penalty": {"model": "mean-body"}}}')
    assert facts_of(tmp_path)[1] == [("A failure costs", "the error of mean-body on that sample")]


def _one_subject(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["subject_id"] == "s0"]


def _all_failed(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(status="failed", value=np.nan, failure_value=9.0, message="boom")


def _failed_without_penalty(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(status="oom", value=np.nan, failure_value=np.nan, message=None)


def _clean_alone(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["severity"] == 0]


def _no_clean(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["severity"] != 0]


def _bare(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop(columns=["model", "message", "dataset", "cset_id", "checkpoint_sha256"])


@pytest.mark.parametrize(
    "change",
    [_one_subject, _all_failed, _failed_without_penalty, _clean_alone, _no_clean, _bare],
    ids=lambda f: f.__name__,
)
def test_unusual_runs_make_a_page_too(change: Any, toy_rows: Any, tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    rows = change(toy_rows())
    rows.to_parquet(tmp_path / "rows" / "part-0000.parquet")
    report = write_report([tmp_path], None, ["html"], metrics=["chamfer_cm", "mask_iou"])
    page = report.files[0].read_text(encoding="utf-8")
    data = data_of(page)
    assert len(data["conditions"]) >= rows.groupby(["corruption", "severity"]).ngroups
    assert ("Nothing failed." in page) == (rows["status"] == "ok").all()
    assert "nan" not in re.sub(r"<script>.*?</script>", "", page, flags=re.S).lower()
