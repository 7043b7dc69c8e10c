"""The table of similarities: who is averaged with whom, and intervals that stay within what a cosine can be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from robench.analysis.likeness import cosine_interval, likeness_table


def row(subject, view, condition, severity=None, angle=None, similarity=0.5, status="ok"):
    return {
        "sample_id": f"{subject}_{view}",
        "subject_id": subject,
        "view": view,
        "condition": condition,
        "severity": severity,
        "angle": angle,
        "similarity": similarity if status == "ok" else None,
        "status": status,
        "message": "",
    }


def test_views_then_severities_are_averaged_within_a_subject() -> None:
    rows = [
        row("a", 0, "fog", 1, similarity=0.9),
        row("a", 30, "fog", 1, similarity=0.7),  # a at severity 1: 0.8
        row("a", 0, "fog", 4, similarity=0.4),  # a: (0.8 + 0.4) / 2 = 0.6
        row("b", 0, "fog", 1, similarity=0.6),
        row("b", 0, "fog", 4, similarity=0.2),  # b: 0.4
    ]
    table = likeness_table(rows).set_index("severity")
    assert table.loc["all", "similarity"] == pytest.approx(0.5)
    assert table.loc["1", "similarity"] == pytest.approx(0.7)
    assert table.loc["4", "similarity"] == pytest.approx(0.3)
    assert list(table["n_subjects"]) == [2, 2, 2]
    assert list(table["n_pictures"]) == [5, 3, 2]


def test_what_could_not_be_made_is_counted_and_in_no_mean() -> None:
    rows = [row("a", 0, "fog", 2, similarity=0.9), row("b", 0, "fog", 2, status="failed")]
    (record,) = likeness_table(rows).to_dict("records")
    assert record["similarity"] == pytest.approx(0.9)
    assert (record["n_subjects"], record["n_pictures"], record["failures"]) == (1, 2, 1)
    assert np.isnan(record["lo"])
    assert np.isnan(record["hi"])
    gone = likeness_table([row("a", 0, "fog", 2, status="failed")]).iloc[0]
    assert np.isnan(gone["similarity"])


def test_views_have_angles_and_the_sides_have_names() -> None:
    rows = [row(s, 0, "turn", angle=a, similarity=1 - a / 1000) for s in "ab" for a in (0.0, 30.0, 90.0, 180.0, 270.0)]
    table = likeness_table(rows)
    assert list(table["condition"]) == ["view", "view", "front–left", "front–back", "front–right"]
    assert list(table["kind"]) == ["view"] * 5
    assert list(table["similarity"]) == pytest.approx([1, 0.97, 0.91, 0.82, 0.73])


def test_nothing_gives_an_empty_table() -> None:
    assert likeness_table([]).empty


def test_the_interval_is_students_on_the_log_of_the_distance() -> None:
    x = np.array([0.95, 0.9, 0.99, 0.8])
    found = cosine_interval(x)
    distance = 1 - x
    # Delta method: the standard error of log(mean) is that of the mean over the mean.
    error = stats.sem(distance) / distance.mean()
    assert found.value == pytest.approx(x.mean())
    half = np.log((1 - found.lo) / distance.mean())
    assert half == pytest.approx(np.log(distance.mean() / (1 - found.hi)))
    assert half == pytest.approx(stats.t.ppf(0.975, 3) * error, rel=0.15)
    assert found.hi < 1


@pytest.mark.parametrize("count", [3, 40])
def test_the_interval_stays_within_what_a_cosine_can_be(count) -> None:
    rng = np.random.default_rng(count)
    x = 1 - rng.exponential(0.05, count) ** 2
    x[0] = -0.9
    found = cosine_interval(x, resamples=500)
    assert -1 <= found.lo < found.value < found.hi <= 1
