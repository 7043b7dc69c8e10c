"""The policy of a gate: a YAML file that declares beforehand what may not get worse, and by how much."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from robench.analysis.comparison import FAILURE_RATE, Endpoint, Margin
from robench.analysis.rows import CLEAN
from robench.analysis.verdict import MODES
from robench.errors import UsageError
from robench.io.files import json_text, read_json, write_text_atomic
from robench.io.yaml_nodes import NodeReader, close, compose

if TYPE_CHECKING:
    import yaml

    from robench.analysis.provenance import Run

_POLICY = {
    "version": True,
    "baseline": False,
    "primary": True,
    "secondary": False,
    "alpha": False,
    "correction": False,
    "min_subjects": False,
    "min_coverage": False,
    "inconclusive": False,
    "partial": False,
    "resamples": False,
    "seed": False,
}
_ENDPOINT = {"metric": True, "margin": True, "mode": False, "corruptions": False, "severities": False, "by": False}
_MARGIN = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(%|pp)")
_RANGE = re.compile(r"([1-5])(?:\s*-\s*([1-5]))?")
HINT = "docs/ci.md, which shows a whole policy"


@dataclass(frozen=True)
class Policy:
    """What `robench gate` asks and how it answers.

    Attributes:
        path: Its file.
        endpoints: With the line of the file each stands in; ``by: corruption`` is not yet spread out.
        alpha: One-sided level of the whole.
        min_subjects: Subjects that a pass needs.
        min_coverage: Share of the cells that both runs must have.
        inconclusive: ``warn`` (exit 0) or ``fail`` (exit 5).
        partial: ``refuse`` or ``allow`` runs that took some of the data set's samples.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.
        baseline: File with the run id and hash that the base must have, or None.
    """

    path: Path
    endpoints: tuple[tuple[Endpoint, bool, int], ...]
    alpha: float = 0.05
    min_subjects: int = 20
    min_coverage: float = 1.0
    inconclusive: Literal["warn", "fail"] = "warn"
    partial: Literal["refuse", "allow"] = "refuse"
    resamples: int = 10_000
    seed: int = 0
    baseline: Path | None = None

    def spread(self, conditions: Collection[tuple[str, int]], directions: Mapping[str, str]) -> list[Endpoint]:
        """Return every endpoint for runs with some conditions and metrics.

        A policy that does not speak of failures gets the failure rate of the primary's cells, mode ``harm``, 1pp: a
        model must not get better by failing.

        Args:
            conditions: ``(corruption, severity)`` that the runs have.
            directions: Metric → ``lower`` or ``higher``, of those that the runs have.

        Raises:
            UsageError: If the policy names a corruption, severity or metric that the runs lack, or gives it a margin
                of the wrong kind; with the file's line.
        """
        found: list[Endpoint] = []
        corruptions = sorted({name for name, _ in conditions} - {CLEAN})
        for one, each, line in self.endpoints:
            if one.metric != FAILURE_RATE:
                if one.metric not in directions:
                    self._lacking(line, "metric", one.metric, sorted(directions))
                self._check_margin(one, line, relative=directions[one.metric] == "lower")
            for name in one.corruptions or ():
                if name not in (*corruptions, CLEAN):
                    self._lacking(line, "corruption", name, corruptions)
            names = one.corruptions if one.corruptions is not None else tuple(corruptions)
            # Less than was declared must not pass for the whole.
            for severity in one.severities or ():
                if not any((name, severity) in conditions for name in names):
                    self._lacking(line, "severity", str(severity), sorted({str(s) for _, s in conditions} - {"0"}))
            found += [replace(one, corruptions=(name,)) for name in names] if each else [one]
        if all(one.metric != FAILURE_RATE for one in found):
            found.append(replace(found[0], metric=FAILURE_RATE, margin=Margin(0.01, False), mode="harm", primary=False))
        return found

    def _check_margin(self, one: Endpoint, line: int, *, relative: bool) -> None:
        if one.margin is not None and one.margin.relative != relative:
            kind = "an error, where less is better" if relative else "a score, where more is better"
            raise UsageError(
                f"{self.path}:{line}: '{one.metric}' is {kind}; its margin cannot be {one.margin}",
                expected="such as 3%" if relative else "such as 1pp",
                hint=HINT,
            )

    def _lacking(self, line: int, what: str, name: str, known: Sequence[str]) -> None:
        raise UsageError(
            f"{self.path}:{line}: the runs have no {what} '{name}'",
            expected=", ".join(known) + close(name, known),
            hint="evaluate with it, or leave it out of the policy",
        )


def read_policy(path: Path) -> Policy:
    """Read and check a policy.

    Raises:
        UsageError: If the file cannot be read or is not a policy; the message names the file and the line.
    """
    return _Reader(path, HINT).policy(compose(path, "policy"))


def margin_of(text: str) -> Margin:
    """Read ``3%`` (of an error) or ``1pp`` (of a score or a rate), above 0 and at most 100.

    Raises:
        UsageError: If it is neither.
    """
    found = _MARGIN.fullmatch(text.strip())
    if not found or not 0 < float(found[1]) <= 100:
        expected = "such as 3% of an error, or 1pp of a score or rate"
        raise UsageError("The margin is not understood", got=f"'{text}'", expected=expected)
    return Margin(float(found[1]) / 100, found[2] == "%")


class _Reader(NodeReader):
    """Turns YAML nodes into a policy."""

    def policy(self, root: yaml.Node | None) -> Policy:
        nodes = self.mapping(root, _POLICY, "the policy")
        self.one_of(nodes["version"], "version", ["1"])
        if "correction" in nodes:
            self.one_of(nodes["correction"], "correction", ["holm"])
        found = [self._endpoint(nodes["primary"], "the primary endpoint", primary=True)]
        if "secondary" in nodes:
            for node in self.items(nodes["secondary"], "secondary", "[{metric: failure_rate, margin: 1pp}]"):
                found.append(self._endpoint(node, "a secondary endpoint", primary=False))
                if found[-1][:2] in [one[:2] for one in found[:-1]]:
                    self.stop(node, f"'{found[-1][0].metric}' is asked twice alike", "every endpoint once")
        settings: dict[str, Any] = {}
        for name, least, most in (("alpha", 0.0001, 0.5), ("min_coverage", 0.01, 1.0)):
            if name in nodes:
                settings[name] = self._real(nodes[name], name, least, most)
        for name, least, most in (("min_subjects", 2, 10**6), ("resamples", 100, 10**6), ("seed", 0, 2**63)):
            if name in nodes:
                settings[name] = self._whole(nodes[name], name, int(least), int(most))
        for name, known in (("inconclusive", ("warn", "fail")), ("partial", ("refuse", "allow"))):
            if name in nodes:
                settings[name] = self.one_of(nodes[name], name, known)
        if "baseline" in nodes:
            settings["baseline"] = self.path.parent / self.text(nodes["baseline"], "baseline")
        return Policy(self.path, tuple(found), **settings)

    def _endpoint(self, node: yaml.Node, what: str, *, primary: bool) -> tuple[Endpoint, bool, int]:
        nodes = self.mapping(node, _ENDPOINT, what)
        metric = self.text(nodes["metric"], "metric")
        if primary and metric == FAILURE_RATE:
            self.stop(nodes["metric"], "the failure rate goes with a metric", "it among the secondary endpoints")
        each = "by" in nodes and self.one_of(nodes["by"], "by", ["all", "corruption"]) == "corruption"
        if primary and each:
            self.stop(nodes["by"], "the primary endpoint is one question", "by: corruption among the secondary ones")
        mode = self.one_of(nodes["mode"], "mode", MODES) if "mode" in nodes else "harm"
        margin = self._margin(nodes["margin"])
        if metric == FAILURE_RATE and margin.relative:
            self.stop(nodes["margin"], "the failure rate is a share of the cells", "its margin in points, such as 1pp")
        one = Endpoint(
            metric,
            self._corruptions(nodes.get("corruptions")),
            self._severities(nodes.get("severities")),
            margin,
            "safety" if mode == "safety" else "harm",
            primary,
        )
        return one, each, node.start_mark.line + 1

    def _margin(self, node: yaml.Node) -> Margin:
        text = self.text(node, "margin")
        try:
            return margin_of(text)
        except UsageError as error:
            self.stop(node, f"the margin cannot be '{text}'", error.expected)

    def _corruptions(self, node: yaml.Node | None) -> tuple[str, ...] | None:
        import yaml

        if node is None or (isinstance(node, yaml.ScalarNode) and node.value.strip() == "all"):
            return None
        if isinstance(node, yaml.ScalarNode):
            return (self.text(node, "corruptions"),)
        names = [self.text(item, "corruptions") for item in self.items(node, "corruptions", "[fog_3d], or all")]
        if not names or len(set(names)) < len(names):
            self.stop(node, "'corruptions' is empty or names one twice", "names, each once, or all")
        return tuple(names)

    def _severities(self, node: yaml.Node | None) -> tuple[int, ...] | None:
        import yaml

        if node is None or (isinstance(node, yaml.ScalarNode) and node.value.strip() == "all"):
            return None
        items = [node] if isinstance(node, yaml.ScalarNode) else self.items(node, "severities")
        found: set[int] = set()
        for item in items:
            text = self.text(item, "severities")
            for part in text.split(","):
                match = _RANGE.fullmatch(part.strip())
                if not match or int(match[1]) > int(match[2] or match[1]):
                    self.stop(item, f"'severities' cannot be '{text}'", "such as 1-5, 3 or [1, 3]")
                found |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
        if not found:
            self.stop(node, "'severities' is empty", "such as 1-5, 3 or [1, 3]")
        return tuple(sorted(found))

    def _real(self, node: yaml.Node, what: str, least: float, most: float) -> float:
        text = self.text(node, what)
        try:
            value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            self.stop(node, f"'{what}' cannot be {text}", f"a number from {least:g} to {most:g}")
        return value

    def _whole(self, node: yaml.Node, what: str, least: int, most: int) -> int:
        text = self.text(node, what)
        if not (re.fullmatch("[0-9]{1,18}", text) and least <= int(text) <= most):
            self.stop(node, f"'{what}' cannot be {text}", f"a whole number from {least} to {most}")
        return int(text)


def check_baseline(path: Path, base: Run) -> None:
    """Make sure that a run is the one that a baseline file names.

    Raises:
        UsageError: If the file cannot be read or says something else than a run's id and hash.
        NotComparable: If the run is another.
    """
    from robench.errors import NotComparable

    stored = read_json(path)
    names = ("run_id", "rows_sha256")
    if not (isinstance(stored, Mapping) and all(isinstance(stored.get(name), str) for name in names)):
        raise UsageError(f"{path} names no baseline", expected="a JSON object with run_id and rows_sha256")
    for name in names:
        if stored[name] != base.to_json()[name]:
            raise NotComparable(
                f"'{base.path}' is not the declared baseline: its {name} differs",
                got=base.to_json()[name],
                expected=stored[name],
                hint=f"the run that {path} names",
            )


def baseline_text(run: Run) -> str:
    """Return what a baseline file says of a run: what it is, not a copy of its numbers."""
    return json_text(run.to_json())


def update_baseline_file(path: Path, run: Run) -> str:
    """Let a baseline file name another run, and return the change as a unified diff."""
    import difflib

    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    new = baseline_text(run)
    write_text_atomic(path, new)
    lines = difflib.unified_diff(old.splitlines(True), new.splitlines(True), str(path), str(path))
    return "".join(lines)
