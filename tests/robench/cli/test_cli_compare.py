"""``robench compare`` and ``robench gate``, on run folders made here and on one that robench made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from robench.io.files import write_json_atomic

POLICY = "version: 1\nprimary: {metric: chamfer_cm, margin: 3%}\nmin_subjects: 2\n"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a run of ten subjects under two corruptions; errors times `factor`, some of them failed."""

    def act(
        name: str, factor: float = 1.0, noise: float = 0.0, failed: int = 0, model: str = "toy", **columns: object
    ) -> Path:
        base, own = np.random.default_rng(0), np.random.default_rng(1)
        rows = []
        for corruption, severity in (("clean", 0), ("fog", 1), ("roll", 1)):
            for person in range(10):
                value = (1 + severity) * base.lognormal(0, 0.3) * factor * np.exp(noise * own.normal())
                is_failed = corruption == "roll" and person < failed
                rows.append(
                    {
                        "run_id": name,
                        "sample_id": f"p{person}_0",
                        "subject_id": f"p{person}",
                        "view_id": "0",
                        "corruption": corruption,
                        "severity": severity,
                        "masker": "given",
                        "metric": "chamfer_cm",
                        "value": None if is_failed else value,
                        "unit": "cm",
                        "direction": "lower",
                        "status": "failed" if is_failed else "ok",
                        "failure_value": 8.0 if is_failed else None,
                        "model": model,
                        "mask_source": "gt",
                        "dataset": "toys",
                        **columns,
                    }
                )
        folder = tmp_path / name
        (folder / "rows").mkdir(parents=True)
        pd.DataFrame(rows).to_parquet(folder / "rows" / "part-0000.parquet")
        write_json_atomic(folder / "run.json", {"state": "complete", "dataset": {"partial": False}})
        return folder

    return act


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    (tmp_path / "gate.yaml").write_text(POLICY)
    return tmp_path / "gate.yaml"


def test_compare_prints_marks_and_how_they_were_made(run, write: Write) -> None:
    code, out, _ = run("compare", write("base"), write("cand", 1.3, 0.05, failed=2), "--metrics", "chamfer_cm")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert [line[0] for line in lines if line[1:2] == ["Chamfer"]] == ["+!", "+", "+", "+!"]
    assert "Failure rate" in out
    assert "one-sided at 5 %" in out
    assert "10,000 resamples, seed 0" in out
    assert "newly failing" in out
    assert "REGRESSION" not in out  # no margin, no verdict


def test_compare_several_candidates_with_a_margin_and_a_reference(run, write: Write) -> None:
    base, good, bad = write("base"), write("good", 0.8, 0.02), write("bad", 1.2, 0.02)
    reference = write("ref", 2.0, model="mean-body")
    options = ("--metrics", "chamfer_cm", "--margin", "3%", "--reference", reference, "--format", "json")
    code, out, _ = run("compare", base, good, bad, *options)
    assert code == 0
    found = json.loads(out)
    assert [one["verdict"] for one in found] == ["improved", "regression"]
    assert found[0]["measures"][0]["mce"]["value"] == pytest.approx(0.5)
    assert found[0]["measures"][0]["reference"]["run_id"] == "ref"
    assert len(found[0]["measures"][0]["reference"]["rows_sha256"]) == 64
    line = found[1]["lines"][0]
    assert (line["primary"], line["marks"], line["margin"], line["n_subjects"]) == (True, "+", "3%", 10)
    assert line["effect"] == pytest.approx(0.2, abs=0.03)
    assert line["lo"] < line["effect"] < line["hi"]


def test_compare_with_true_masks(run, write: Write) -> None:
    cand = write("cand", 1.2, masker="u2netp", mask_source="predicted:u2netp")
    base = write("base", masker="u2netp", mask_source="predicted:u2netp")
    code, out, _ = run("compare", base, cand, "--metrics", "chamfer_cm", "--true-masks", write("true"))
    assert code == 0
    assert "Where the losses of toy come from" in out
    assert "Alignment and shape" in out


def test_each_candidate_finds_its_run_with_true_masks(run, write: Write) -> None:
    found = {"masker": "u2netp", "mask_source": "predicted:u2netp"}
    base, good, bad = (
        write("base", **found),
        write("good", 1.2, model="a", **found),
        write("bad", 2.0, model="b", **found),
    )
    true = [write("true_b", 1.5, model="b"), write("true_a", model="a")]
    options = ("--metrics", "chamfer_cm", "--format", "json")
    code, out, _ = run("compare", base, good, bad, "--true-masks", true[0], "--true-masks", true[1], *options)
    assert code == 0
    one, other = (record["parts"][0] for record in json.loads(out))
    # A loss is in proportion to the run's factor: 1.2 of 1 without the mask's part, and 2 of 1.5.
    assert one["mask"] / one["loss"] == pytest.approx(1 / 6)
    assert other["mask"] / other["loss"] == pytest.approx(1 / 4)
    assert one["rest"] + one["mask"] == pytest.approx(one["loss"])
    code, _, err = run("compare", base, good, "--true-masks", true[0], *options)
    assert code == 2
    assert "'true_b' is of no model that is reported; got b; expected a" in err


@pytest.mark.parametrize("verb", ["compare", "gate"])
def test_another_protocol_ends_with_six_and_the_ingredient(run, write: Write, policy: Path, verb: str) -> None:
    more = ("--policy", policy) if verb == "gate" else ()
    code, _, err = run(verb, write("base"), write("cand", dataset="others"), *more)
    assert code == 6
    assert "'dataset' differs; got toys and others" in err


def test_gate_codes(run, write: Write, policy: Path) -> None:
    base, noisy = write("base"), write("noisy", 1.02, 0.3)
    assert run("gate", base, base, "--policy", policy)[0] == 0
    code, out, _ = run("gate", base, write("worse", 1.2, 0.02), "--policy", policy)
    assert code == 4
    assert "REGRESSION" in out
    code, out, _ = run("gate", base, noisy, "--policy", policy)
    assert code == 0
    assert "INCONCLUSIVE" in out
    assert "more subjects" in out
    policy.write_text(POLICY + "inconclusive: fail\n")
    assert run("gate", base, noisy, "--policy", policy)[0] == 5
    policy.write_text(POLICY.replace("margin: 3%", "margin: 3%, mode: safety"))
    code, out, _ = run("gate", base, noisy, "--policy", policy)
    assert code == 4
    assert "NOT SHOWN SAFE" in out
    policy.write_text(POLICY.replace("3%", "3"))
    code, _, err = run("gate", base, base, "--policy", policy)
    assert code == 2
    assert "gate.yaml:2: the margin cannot be '3'" in err


def test_gate_writes_what_machines_read(run, write: Write, policy: Path, tmp_path: Path) -> None:
    base, worse, out = write("base"), write("worse", 1.2, 0.02), tmp_path / "out"
    code, said, _ = run("gate", base, worse, "--policy", policy, "--format", "md,json,junit,github", "--out", out)
    assert code == 4
    assert said.startswith("::error title=robench%3A regression::[+] Chamfer (cm), all corruptions (primary): ")
    assert "worse by +19.5 %25 [+" in said
    assert "%25" in said
    found = json.loads((out / "gate.json").read_text())
    assert found["verdict"] == "regression"
    assert found["base"]["rows_sha256"] != found["candidate"]["rows_sha256"]
    suite = ElementTree.fromstring((out / "gate.xml").read_text(encoding="utf-8"))[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert "regression (margin 3%, harm)" in suite.findall("testcase/failure")[0].get("message", "")
    text = (out / "gate.md").read_text()
    assert text.startswith("### REGRESSION: toy against toy\n")
    assert "| `+` | Chamfer (cm) | all corruptions (primary) |" in text


def test_gate_tells_github_why_it_could_not_judge(run, write: Write, policy: Path) -> None:
    code, out, _ = run("gate", write("base"), write("cand", dataset="x"), "--policy", policy, "--format", "github")
    assert code == 6
    assert out.startswith("::error title=robench gate::")


def test_gate_updates_a_baseline_only_when_improved_and_asked(run, write: Write, policy: Path, tmp_path: Path) -> None:
    base, better, stored = write("base"), write("better", 0.8, 0.02), tmp_path / "base.json"
    code, _, err = run("gate", base, better, "--policy", policy, "--update-baseline")
    assert code == 2
    assert "names no baseline file" in err
    policy.write_text(POLICY + "baseline: base.json\n")
    sha = json.loads(run("compare", base, base, "--metrics", "chamfer_cm", "--format", "json")[1])["base"]
    write_json_atomic(stored, sha)
    code, _, err = run("gate", base, base, "--policy", policy, "--update-baseline")
    assert code == 0
    assert "The baseline stays as it is" in err
    assert "--update-baseline would let" in run("gate", base, better, "--policy", policy)[2]
    assert json.loads(stored.read_text()) == sha
    code, _, err = run("gate", base, better, "--policy", policy, "--update-baseline")
    assert code == 0
    assert '-  "run_id": "base"' in err
    assert json.loads(stored.read_text())["run_id"] == "better"
    code, _, err = run("gate", base, better, "--policy", policy)
    assert code == 6
    assert "not the declared baseline" in err


def test_noise_floor(run, write: Write, policy: Path) -> None:
    base, again = write("base"), write("again", 1.0, 0.2)
    code, _, err = run("gate", base, base, "--policy", policy, "--aa", again)
    assert code == 2
    assert "below the noise floor" in err
    code, out, _ = run("compare", base, base, "--metrics", "chamfer_cm", "--aa", again)
    assert code == 0
    assert "Noise floor of chamfer_cm" in out


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--format", "html"), "There is no such format"),
        (("--format", "md,json"), "Several formats cannot share the terminal"),
        (("--by", "view"), "--by is not understood"),
        (("--mode", "hope"), "--mode is not understood"),
        (("--margin", "3"), "The margin is not understood"),
        (("--alpha", "0"), "The level must lie"),
        (("--metrics", "chamfer_cm,chamfer"), "Neither run has such a metric; got chamfer;"),
    ],
)
def test_wrong_options(run, write: Write, words: tuple[str, str], what: str) -> None:
    base = write("base")
    code, _, err = run("compare", base, base, *words)
    assert code == 2
    assert what in err


def test_bad_input_is_one_sentence(run, write: Write, policy: Path, tmp_path: Path) -> None:
    base, other = write("base"), write("other", model="[bold]x[/bold]\x1b[31m|`<b>")
    code, out, _ = run("compare", base, other, "--metrics", "chamfer_cm", "--format", "md")
    assert code == 0
    assert "\x1b" not in out
    assert "<b>" not in out.replace("\\<b\\>", "")
    assert run("compare", base, tmp_path / "none")[0] == 2
    (other / "rows" / "part-0000.parquet").write_bytes(b"PAR1 cut")
    code, _, err = run("gate", base, other, "--policy", policy)
    assert code == 8
    assert "is damaged" in err
    (base / "run.json").write_text("[]")
    assert run("compare", base, base)[0] == 8
    both = write("both")
    table = pd.read_parquet(both / "rows" / "part-0000.parquet")
    table.assign(run_id="another").to_parquet(both / "rows" / "part-0001.parquet")
    code, _, err = run("compare", both, both)
    assert code == 8
    assert "of several runs" in err


def test_a_run_that_robench_made_compares(run, plugins, people: Path, tmp_path: Path) -> None:
    plugins.add_model()
    base = ["evaluate", "--model", "toy", "--data", people, "-c", "darker", "-s", "1", "--masker", "given"]
    assert run(*base, "--in-process", "-q", "--out", tmp_path / "runs")[0] == 0
    folder = next((tmp_path / "runs").iterdir())
    code, out, err = run("compare", folder, folder, "--metrics", "height_error_cm", "--by", "severity")
    assert code == 0, err
    assert "Failure rate" in out
