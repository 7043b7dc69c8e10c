"""Policies: what they say, what is wrong with them and where; and gates that follow them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.analysis.comparison import FAILURE_RATE, Endpoint, Margin
from robench.analysis.gate import exit_code, gate
from robench.analysis.policy import check_baseline, margin_of, read_policy, update_baseline_file
from robench.analysis.provenance import Run, rows_sha256
from robench.errors import ExitCode, NotComparable, UsageError

WHOLE = """version: 1
primary: {metric: chamfer_cm, corruptions: all, severities: 1-3, margin: 3%, mode: harm}
secondary:
  - {metric: failure_rate, margin: 1pp, mode: safety}
  - {metric: p2s_pred_to_gt_cm, by: corruption, margin: 5%}
alpha: 0.05
correction: holm
min_subjects: 4
min_coverage: 90%
inconclusive: fail
partial: allow
"""
CONDITIONS = [("clean", 0), *((name, s) for name in ("fog", "roll") for s in (1, 2, 3))]
DIRECTIONS = {"chamfer_cm": "lower", "p2s_pred_to_gt_cm": "lower", "iou_3d": "higher"}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def act(text: str) -> Path:
        (tmp_path / "gate.yaml").write_text(text, encoding="utf-8")
        return tmp_path / "gate.yaml"

    return act


def test_a_policy(write: Callable[[str], Path]) -> None:
    policy = read_policy(write(WHOLE))
    assert (policy.alpha, policy.min_subjects, policy.min_coverage) == (0.05, 4, 0.9)
    assert (policy.inconclusive, policy.partial) == ("fail", "allow")
    found = policy.spread(CONDITIONS, DIRECTIONS)
    assert found[0] == Endpoint("chamfer_cm", None, (1, 2, 3), Margin(0.03, True), "harm", True)
    assert found[1] == Endpoint(FAILURE_RATE, None, None, Margin(0.01, False), "safety")
    assert [one.corruptions for one in found[2:]] == [("fog",), ("roll",)]


def test_failures_are_asked_about_even_if_the_policy_does_not(write: Callable[[str], Path]) -> None:
    policy = read_policy(write("version: 1\nprimary: {metric: chamfer_cm, severities: 2, margin: 3%, mode: safety}\n"))
    assert policy.spread(CONDITIONS, DIRECTIONS)[1:] == [
        Endpoint(FAILURE_RATE, None, (2,), Margin(0.01, False), "harm", False)
    ]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        (WHOLE.replace("version: 1", "version: 2"), 1, "'version' cannot be '2'"),
        (WHOLE.replace("margin: 3%", "margin: 3"), 2, "margin cannot be '3'"),
        (WHOLE.replace("margin: 3%", "margin: 0%"), 2, "margin cannot be '0%'"),
        (WHOLE.replace("mode: harm", "mode: harmless"), 2, "'mode' cannot be 'harmless'"),
        (WHOLE.replace("metric: chamfer_cm, ", ""), 2, "has no 'metric'"),
        (WHOLE.replace("metric: chamfer_cm", "metric: failure_rate"), 2, "goes with a metric"),
        (WHOLE.replace("severities: 1-3", "severities: 3-1"), 2, "'severities' cannot be '3-1'"),
        (WHOLE.replace("severities: 1-3", "severities: 0"), 2, "'severities' cannot be '0'"),
        (WHOLE.replace("corruptions: all", "corruptions: [fog, fog]"), 2, "names one twice"),
        (WHOLE.replace("corruptions: all", "by: corruption"), 2, "is one question"),
        (WHOLE.replace("margin: 1pp", "margin: 1%"), 4, "a share of the cells"),
        (WHOLE.replace("margin: 1pp", "marign: 1pp"), 4, "unknown key 'marign'.*did you mean 'margin'"),
        (WHOLE.replace("  - {metric: failure_rate, margin: 1pp, mode: safety}\n", ""), 0, ""),
        (WHOLE + "alpha: 0.1\n", 12, "the key 'alpha' twice"),
        (WHOLE.replace("alpha: 0.05", "alpha: 0"), 6, "'alpha' cannot be 0"),
        (WHOLE.replace("alpha: 0.05", "alpha: nan"), 6, "'alpha' cannot be nan"),
        (WHOLE.replace("holm", "none"), 7, "'correction' cannot be 'none'"),
        (WHOLE.replace("min_subjects: 4", "min_subjects: four"), 8, "a whole number from 2"),
        (WHOLE.replace("inconclusive: fail", "inconclusive: maybe"), 10, "expected warn or fail"),
        (WHOLE.replace("secondary:", "secondary: 3\nextra:"), 4, "unknown key 'extra'"),
        ("version: 1\nprimary: [\n", 3, "is not valid YAML"),
        ("- a\n", 1, "the policy is not a mapping"),
        ("", 1, "the policy is not a mapping"),
    ],
)
def test_what_is_wrong_is_told_by_line(write: Callable[[str], Path], text: str, line: int, what: str) -> None:
    path = write(text)
    if not line:
        read_policy(path)
        return
    with pytest.raises(UsageError, match=rf"gate\.yaml:{line}.*{what}"):
        read_policy(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_policy(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ("p2s_pred_to_gt_cm", "p2s_cm", 5, "no metric 'p2s_cm'"),
        ("corruptions: all", "corruptions: [fgo]", 2, r"no corruption 'fgo'.*did you mean 'fog'"),
        ("severities: 1-3", "severities: 1-4", 2, "no severity '4'"),
        ("p2s_pred_to_gt_cm", "iou_3d", 5, "'iou_3d' is a score.*such as 1pp"),
        ("margin: 3%", "margin: 3pp", 2, "'chamfer_cm' is an error.*such as 3%"),
    ],
)
def test_what_the_runs_lack_is_told_by_line(
    write: Callable[[str], Path], old: str, new: str, line: int, what: str
) -> None:
    policy = read_policy(write(WHOLE.replace(old, new)))
    with pytest.raises(UsageError, match=rf"gate\.yaml:{line}.*{what}"):
        policy.spread(CONDITIONS, DIRECTIONS)


def test_margins() -> None:
    assert margin_of(" 2.5 %") == Margin(0.025, True)
    assert str(margin_of("1pp")) == "1pp"
    for text in ("3", "-3%", "1e3%", "101%", "%", ""):
        with pytest.raises(UsageError, match="not understood"):
            margin_of(text)


def run_of(make_rows: Callable[..., pd.DataFrame], factor: float = 1.0, **about: object) -> Run:
    rng = np.random.default_rng(0)
    scores = {
        (name, s, metric): {f"p{i}": [v] for i, v in enumerate(factor * (1 + s) * rng.lognormal(0, 0.2, 12))}
        for metric in ("chamfer_cm", "p2s_pred_to_gt_cm")
        for name, s in CONDITIONS
    }
    rows = make_rows(scores)
    return Run(Path("run"), rows, about, rows_sha256(rows))


def test_a_gate(write: Callable[[str], Path], make_rows: Callable[..., pd.DataFrame]) -> None:
    policy = read_policy(write(WHOLE))
    base, worse = run_of(make_rows), run_of(make_rows, 1.1)
    assert exit_code(gate(base, base, policy), policy) == ExitCode.OK
    found = gate(base, worse, policy)
    assert (found.verdict, exit_code(found, policy)) == ("regression", ExitCode.GATE_REGRESSION)
    assert gate(worse, base, policy).verdict == "improved"
    strict = read_policy(write(WHOLE.replace("min_subjects: 4", "min_subjects: 40")))
    found = gate(base, base, strict)
    assert (found.verdict, exit_code(found, strict)) == ("inconclusive", ExitCode.GATE_INCONCLUSIVE)
    assert found.lines[0].decision.more == 28
    lenient = read_policy(write(WHOLE.replace("min_subjects: 4", "min_subjects: 40").replace("fail\n", "warn\n")))
    assert exit_code(found, lenient) == ExitCode.OK


def test_unfinished_and_partial_runs_are_refused(
    write: Callable[[str], Path], make_rows: Callable[..., pd.DataFrame]
) -> None:
    base = run_of(make_rows)
    part, stopped = run_of(make_rows, dataset={"partial": True}), run_of(make_rows, state="interrupted")
    policy = read_policy(write(WHOLE.replace("partial: allow", "partial: refuse")))
    with pytest.raises(NotComparable, match="is partial"):
        gate(base, part, policy)
    with pytest.raises(NotComparable, match=r"is not finished.*robench resume"):
        gate(stopped, base, policy)
    found = gate(base, part, read_policy(write(WHOLE)))
    assert any("was limited to some" in note for note in found.notes)


def test_an_endpoint_without_a_value_is_not_comparable(
    write: Callable[[str], Path], make_rows: Callable[..., pd.DataFrame]
) -> None:
    base = run_of(make_rows)
    zero = run_of(make_rows, 0.0)
    with pytest.raises(NotComparable, match=r"chamfer_cm \(all.* has no value: an error of the candidate is 0"):
        gate(base, zero, read_policy(write(WHOLE)))


def test_the_declared_baseline(
    tmp_path: Path, write: Callable[[str], Path], make_rows: Callable[..., pd.DataFrame]
) -> None:
    base, better = run_of(make_rows), run_of(make_rows, 0.8)
    policy = read_policy(write(WHOLE + "baseline: base.json\n"))
    assert policy.baseline == tmp_path / "base.json"
    change = update_baseline_file(tmp_path / "base.json", base)
    assert f'+  "rows_sha256": "{base.sha256}"' in change
    assert gate(base, better, policy).verdict == "improved"
    with pytest.raises(NotComparable, match="not the declared baseline: its rows_sha256 differs"):
        gate(better, base, policy)
    assert f'-  "rows_sha256": "{base.sha256}"' in update_baseline_file(tmp_path / "base.json", better)
    for text in ("[]", '{"run_id": 3}', "{"):
        (tmp_path / "base.json").write_text(text)
        with pytest.raises(UsageError):
            check_baseline(tmp_path / "base.json", base)
