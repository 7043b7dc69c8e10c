"""The policy that docs/ci.md shows can be used, and its defaults are those that it names."""

from __future__ import annotations

import re
from pathlib import Path

from robench.analysis.policy import Policy, read_policy

PAGE = Path(__file__).resolve().parents[3] / "docs" / "ci.md"


def test_the_policy_that_is_shown_is_one(tmp_path: Path) -> None:
    import yaml

    policy, *jobs = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    (tmp_path / "gate.yaml").write_text(policy)
    shown = read_policy(tmp_path / "gate.yaml")
    assert shown == Policy(shown.path, shown.endpoints, baseline=tmp_path / "baseline.json")
    assert [one.metric for one, _, _ in shown.endpoints] == [
        "chamfer_cm",
        "failure_rate",
        "p2s_pred_to_gt_cm",
        "fscore_1cm",
    ]
    assert len(jobs) == 2
    for job in jobs:
        assert "robench gate runs/base/* runs/cand/* --policy gate.yaml" in job
        assert yaml.safe_load(job)["gate" if "image:" in job else "jobs"]
