"""What docs/ci.md, the workflows and the scripts ask of robench exists, and our own gate can be run."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from robench import registry
from robench.analysis.policy import Policy, read_policy
from robench.cli import VERBS

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "ci.md"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
SCRIPTS = [ROOT / "tools" / "gate.sh", ROOT / "tools" / "demo.sh"]


def blocks(language: str) -> list[str]:
    """Code blocks of the page."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.S)


def scripts_of(job: Any) -> Iterator[str]:
    """Every script in a workflow or a GitLab job."""
    if isinstance(job, dict):
        for key, value in job.items():
            if key in ("run", "script", "before_script"):
                yield "\n".join(value) if isinstance(value, list) else str(value)
            else:
                yield from scripts_of(value)
    elif isinstance(job, list):
        for item in job:
            yield from scripts_of(item)


def written() -> Iterator[tuple[str, str]]:
    """(where, script) of everything that is to be run."""
    for path in WORKFLOWS:
        for script in scripts_of(yaml.safe_load(path.read_text("utf-8"))):
            yield path.name, script
    for block in blocks("bash"):
        yield PAGE.name, block
    for job in blocks("yaml")[1:]:
        for script in scripts_of(yaml.safe_load(job)):
            yield PAGE.name, script
    for path in SCRIPTS:
        text = path.read_text("utf-8").replace("exec ", "").replace('"${robench[@]}"', "robench")
        yield path.name, text.replace("$robench ", "robench ")


def commands() -> Iterator[tuple[str, list[str]]]:
    """(where, words after ``robench``) of every command line."""
    for where, script in written():
        for line in re.sub(r"\\\n\s*", " ", script).splitlines():
            found = re.search(r"(?:^|[(;&|]|[A-Z_]=\S+)\s*(?:\.venv/bin/)?robench ([a-z][^|;&#>)]*)", line)
            if found and not line.lstrip().startswith(("#", "step ", "say ")):
                yield where, shlex.split(found[1])


def command(words: list[str]) -> Any:
    """The command that words ask for, as typer made it."""
    app = typer.Typer()
    importlib.import_module(f"robench.cli.{words[0]}").register(app)
    app.callback()(lambda: None)  # a group, however few its commands
    found: Any = typer.main.get_command(app)
    for word in words:
        if not hasattr(found, "commands"):
            break
        found = found.commands[word]
    return found


def test_the_policy_that_is_shown_is_one(tmp_path: Path) -> None:
    policy, *jobs = blocks("yaml")
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


def test_commands_are_found() -> None:
    found = [(where, words[0]) for where, words in commands()]
    assert len(found) > 15
    for where in (PAGE.name, "gate.sh", "demo.sh"):
        assert (where, "evaluate") in found


def test_every_verb_and_option_exists() -> None:
    known = {kind: set(registry.entries(kind)) for kind in ("models", "maskers", "metrics")}
    for where, words in commands():
        assert words[0] in VERBS, (where, words)
        options = {name for one in command(words).params for name in (*one.opts, *one.secondary_opts)}
        given = dict(zip(words, [*words[1:], ""], strict=True))
        for word in words:
            if re.match(r"--?[a-z]", word):
                assert word.split("=")[0] in options, (where, words, word)
        for option, kind in (("--model", "models"), ("--masker", "maskers"), ("--metrics", "metrics")):
            names = given.get(option, "").split(",") if option in given else []
            assert set(names) <= known[kind] | {"my-model"}, (where, words)
        if "--format" in given and words[0] == "gate" and "$" not in given["--format"]:
            assert set(given["--format"].split(",")) <= {"terminal", "md", "json", "junit", "github"}


def test_scripts_and_targets_that_are_called_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    called = set()
    for where, script in written():
        for path in re.findall(r"(?:^|[\s(])((?:tools|\.ci|baselines|leaderboards)/[\w./-]*\w)", script, re.M):
            assert (ROOT / path).exists(), (where, path)
            called.add(path)
        for target in re.findall(r"(?:^|&& )make ([a-z]+)", script, re.M):
            assert target in targets, (where, target)
    assert {".ci/run", "tools/gate.sh"} <= called
    for path in SCRIPTS:
        assert os.access(path, os.X_OK)
        assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_are_bounded_and_pinned(path: Path) -> None:
    text = path.read_text("utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"], "say what it may do; the default may be everything"
    for name, job in workflow["jobs"].items():
        assert 0 < job["timeout-minutes"] <= 360, name
    uses = re.findall(r"uses: *(\S+)", text)
    assert uses
    for one in uses:  # a version or a commit, never a branch
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@(v\d+(\.\d+)*|[0-9a-f]{40})", one), one
    triggers = workflow[True] if True in workflow else workflow["on"]  # YAML 1.1 reads `on` as a boolean
    for trigger in triggers.values() if isinstance(triggers, dict) else ():
        for pattern in (trigger or {}).get("paths", []):
            assert (ROOT / pattern.removesuffix("/**").removeprefix("!")).exists(), pattern
    # What others wrote (titles, names of branches) never becomes part of a script.
    for script in scripts_of(workflow):
        assert not re.search(r"\$\{\{[^}]*(title|body|head_ref|head\.ref|label|message)", script)


def test_there_is_a_workflow_for_the_suite_and_for_the_gate() -> None:
    assert {"ci.yml", "gate.yml"} <= {path.name for path in WORKFLOWS}
    (gated,) = (trigger["paths"] for trigger in [yaml.safe_load(WORKFLOWS_BY["gate.yml"])[True]["pull_request"]])
    for part in ("baselines/pifu", "baselines/weights", "robench/metrics", "robench/geometry", "robench/engine"):
        assert f"{part}/**" in gated
    assert "corruptions/**" in gated


WORKFLOWS_BY = {path.name: path.read_text("utf-8") for path in WORKFLOWS}


def test_our_own_policy() -> None:
    policy = read_policy(ROOT / "baselines" / "weights" / "gate.yaml")
    assert policy.min_subjects >= 20
    assert policy.min_coverage == 1.0
    conditions = {("clean", 0), *((str(name), 3) for name in "abc")}
    endpoints = policy.spread(conditions, {"chamfer_cm": "lower"})
    assert [one.primary for one in endpoints] == [True] + [False] * 5
    subjects = re.search(r"SUBJECTS:-(\d+)", SCRIPTS[0].read_text("utf-8"))
    assert subjects is not None
    assert int(subjects[1]) >= policy.min_subjects


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "tools/gate.sh weights BASE"),
        (["neither", "main"], "tools/gate.sh weights BASE"),
        (["weights", "no-such-revision"], "'no-such-revision' is neither a file nor a git revision"),
        (["code", str(PAGE)], "'code' compares two revisions"),
        (["weights", str(PAGE), "/no/such/weights"], "there is no file /no/such/weights"),
    ],
)
def test_the_gate_script_says_what_is_wrong(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [SCRIPTS[0], *arguments], env={**os.environ, "OUT": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_gate_script_passes_the_same_weights(people_writer: Callable[..., Path], tmp_path: Path) -> None:
    """The whole script on three toy people and one corruption, under our policy but for the number of subjects."""
    policy = (ROOT / "baselines" / "weights" / "gate.yaml").read_text("utf-8")
    (tmp_path / "gate.yaml").write_text(policy.replace("min_subjects: 20", "min_subjects: 3"))
    cells = 'name: one\nversion: "1"\ndescription: one\ncells:\n  - {corruption: brightness, severities: [1]}\n'
    (tmp_path / "one.yaml").write_text(cells)
    asked = {
        "DATA": str(people_writer(tmp_path / "people", subjects=3)),
        "RECIPE": str(tmp_path / "one.yaml"),
        "POLICY": str(tmp_path / "gate.yaml"),
        "OUT": str(tmp_path / "out"),
        "RESOLUTION": "16",
    }
    done = subprocess.run(
        [SCRIPTS[0], "weights", "baselines/weights/pifu-mini.safetensors"],
        cwd=ROOT,
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    assert "PASS" in done.stdout
    assert "| Clean |" in (tmp_path / "out" / "weights" / "gate.md").read_text("utf-8")
    assert {path.name for path in (tmp_path / "out" / "weights").iterdir()} == {"gate.md", "gate.json", "gate.xml"}
