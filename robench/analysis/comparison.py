"""A candidate against a base: endpoints, what is found at each, and one verdict.

The subject is the unit of inference; every sample, corruption and severity is paired. A failure enters with its
declared penalty, and the failure rate is an endpoint of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from robench.analysis.effects import Array, Effects, Inference, infer, select, subject_effects
from robench.analysis.pairing import Pairs, check_comparable, check_coverage, lone_conditions, pairs_of
from robench.analysis.provenance import Run
from robench.analysis.rows import CLEAN
from robench.analysis.verdict import Decision, Mode, Verdict, decide, holm, overall, shares
from robench.errors import NotComparable, UsageError

FAILURE_RATE = "failure_rate"


@dataclass(frozen=True)
class Margin:
    """How much worse is too much.

    Attributes:
        value: 0.03 for 3 % and for 3 points.
        relative: A share of the base's error; else points of a score or of the failure rate.
    """

    value: float
    relative: bool

    def __str__(self) -> str:
        return f"{100 * self.value:g}{'%' if self.relative else 'pp'}"


@dataclass(frozen=True)
class Endpoint:
    """One question that a comparison asks.

    Attributes:
        metric: A metric's name, or `FAILURE_RATE`.
        corruptions: Names; None for all but ``clean``.
        severities: Of the corruptions; None for all.
        margin: How much worse is too much; None where there are marks and no verdict.
        mode: ``harm`` or ``safety``.
        primary: The declared primary endpoint.
    """

    metric: str
    corruptions: tuple[str, ...] | None = None
    severities: tuple[int, ...] | None = None
    margin: Margin | None = None
    mode: Mode = "harm"
    primary: bool = False

    @property
    def where(self) -> str:
        """The conditions in words."""
        name = "all corruptions" if self.corruptions is None else ", ".join(self.corruptions)
        if self.severities is None or self.corruptions == (CLEAN,):
            return name
        return f"{name} at severity {','.join(map(str, self.severities))}"


@dataclass(frozen=True)
class Line:
    """What was found at an endpoint.

    Attributes:
        endpoint: The question.
        unit: Of the scores.
        effects: One effect per subject.
        found: Mean effect with one-sided bounds; positive is worse.
        decision: Verdict, more subjects, detectable effect.
        p_worse: One-sided p-value of a harm, adjusted for the other endpoints.
        p_better: That of an improvement.
        alpha: One-sided level.
        noise: Largest shift, on the scale of the effect, that the same checkpoint shows against itself; NaN if unknown.
    """

    endpoint: Endpoint
    unit: str
    effects: Effects
    found: Inference
    decision: Decision
    p_worse: float
    p_better: float
    alpha: float
    noise: float = float("nan")

    @property
    def marks(self) -> str:
        """``x`` not comparable; else ``+`` worse, ``-`` better, ``~`` not shown; ``!`` newly failing, ``*`` fixed."""
        if self.effects.trouble:
            return "x"
        mark = "+" if self.p_worse <= self.alpha else "-" if self.p_better <= self.alpha else "~"
        if self.effects.cand_failures and not self.effects.base_failures:
            mark += "!"
        if self.effects.base_failures and not self.effects.cand_failures:
            mark += "*"
        return mark

    def shown(self, effect: float) -> float:
        """Return an effect as people read it: a relative change, or a change in points; positive is worse."""
        return float(np.expm1(effect)) if self.effects.scale == "log" else effect


@dataclass(frozen=True, eq=False)
class Comparison:
    """A candidate against a base.

    Attributes:
        base: The run compared with.
        cand: The run compared.
        lines: What was found, in the order of the endpoints.
        verdict: Of all lines that have a margin.
        alpha: One-sided level of the whole.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.
        coverage: Least share of cells that both runs have.
        again: A second run of the base's checkpoint, that the noise comes from.
        notes: What a reader should know.
        measures: Of base and candidate against a reference, as `robench.analysis.headline.measures` gives them.
        parts: Where the candidate's losses come from, as `robench.analysis.decomposition.decompose` gives them.
    """

    base: Run
    cand: Run
    lines: list[Line]
    verdict: Verdict
    alpha: float
    resamples: int
    seed: int
    coverage: float
    again: Run | None = None
    notes: list[str] = field(default_factory=list)
    measures: list[dict[str, Any]] = field(default_factory=list)
    parts: pd.DataFrame | None = None


def compare(
    base: Run,
    cand: Run,
    endpoints: Sequence[Endpoint],
    *,
    alpha: float = 0.05,
    resamples: int = 10_000,
    seed: int = 0,
    min_coverage: float = 1.0,
    min_subjects: int = 2,
    again: Run | None = None,
) -> Comparison:
    """Answer every endpoint.

    Endpoints of mode ``harm`` share the level by weighted Holm (`robench.analysis.verdict.shares`), so that together
    they raise a false alarm with probability at most alpha. Endpoints of mode ``safety`` must all pass and need no
    correction.

    Args:
        base: Run compared with.
        cand: Run compared.
        endpoints: Questions; `default_endpoints` makes some.
        alpha: One-sided level.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.
        min_coverage: Share of the cells that both runs must have.
        min_subjects: Subjects that a pass needs.
        again: A second run of the base's checkpoint; what it shifts is the noise floor.

    Raises:
        NotComparable: If the protocols differ or too few cells are shared.
        UsageError: If a margin lies below the noise floor.
    """
    check_comparable(base, cand)
    if again is not None:
        check_comparable(base, again, again=True)
    metrics = list(dict.fromkeys(_metric_of(one, endpoints) for one in endpoints))
    known = set(base.rows["metric"]) & set(cand.rows["metric"])
    pairs = {metric: pairs_of(base, cand, metric) for metric in metrics if metric in known}
    if not pairs:
        both = ", ".join(sorted(known)) or "no metric in common"
        raise NotComparable("Not both runs have any of the metrics asked for", got=both, expected=", ".join(metrics))
    check_coverage(list(pairs.values()), min_coverage)
    noise = {m: pairs_of(base, again, m) for m in pairs if m in set(again.rows["metric"])} if again is not None else {}

    inferred = functools.partial(infer, alpha=alpha, resamples=resamples, seed=seed)
    effects, units, floors = [], [], []
    for one in endpoints:
        metric = _metric_of(one, endpoints)
        known_here = metric in pairs
        effects.append(_effects(pairs[metric], one) if known_here else _no_effects(f"not both runs have '{metric}'"))
        units.append(pairs[metric].unit if known_here else "")
        floors.append(_noise(noise[metric], one, inferred) if metric in noise else np.nan)
    lines = answer(endpoints, effects, inferred, alpha=alpha, min_subjects=min_subjects)
    lines = [replace(line, unit=unit, noise=floor) for line, unit, floor in zip(lines, units, floors, strict=True)]
    for line in lines:
        _refuse_below_noise(line)
    verdict = overall([(line.endpoint.primary, line.decision.verdict) for line in lines if line.endpoint.margin])
    coverage = min((one.coverage for one in pairs.values()), default=0.0)
    return Comparison(
        base,
        cand,
        lines,
        verdict,
        alpha,
        resamples,
        seed,
        coverage,
        again,
        list(dict.fromkeys(_notes(base, cand, coverage))),
    )


def answer(
    endpoints: Sequence[Endpoint],
    effects: Sequence[Effects],
    inferred: Callable[[Array], Inference],
    *,
    alpha: float = 0.05,
    min_subjects: int = 2,
) -> list[Line]:
    """Return what effects say about endpoints, with the level shared among them.

    Args:
        endpoints: Questions.
        effects: Of each question.
        inferred: From effects of subjects to what they show; `robench.analysis.effects.infer`.
        alpha: One-sided level of the whole.
        min_subjects: Subjects that a pass needs.
    """
    found = [inferred(one.values) for one in effects]
    lines = []
    for one, effect, shown, worse, better in zip(endpoints, effects, found, *_adjusted(endpoints, found), strict=True):
        decision = _decision(one, effect, shown, worse, alpha, min_subjects)
        lines.append(Line(one, "", effect, shown, decision, worse, better, alpha))
    return lines


def _metric_of(one: Endpoint, endpoints: Sequence[Endpoint]) -> str:
    """Return the metric whose rows answer an endpoint: for the failure rate, the primary's."""
    if one.metric != FAILURE_RATE:
        return one.metric
    others = [other for other in endpoints if other.metric != FAILURE_RATE]
    chosen = next((other for other in others if other.primary), others[0] if others else None)
    if chosen is None:
        raise UsageError("Failures are counted over the rows of a metric, but no endpoint names one")
    return chosen.metric


def _effects(pairs: Pairs, one: Endpoint) -> Effects:
    table = select(pairs.table, one.corruptions, one.severities)
    return subject_effects(pairs, table, of_failures=one.metric == FAILURE_RATE)


def _no_effects(trouble: str) -> Effects:
    return Effects(np.array([]), "difference", np.nan, np.nan, 0, 0, 0, 0, 0, trouble)


def _noise(pairs: Pairs, one: Endpoint, inferred: Callable[[Array], Inference]) -> float:
    """Return how far the same checkpoint may be from itself: the farther bound of its effect."""
    effects = _effects(pairs, one)
    found = inferred(effects.values)
    return float(max(abs(found.lo), abs(found.hi))) if not effects.trouble else float("nan")


def _adjusted(endpoints: Sequence[Endpoint], found: Sequence[Inference]) -> tuple[list[float], list[float]]:
    """Return p-values of harm and of improvement; those of mode ``harm`` are corrected together."""
    worse, better = [one.p_worse for one in found], [one.p_better for one in found]
    harm = [i for i, one in enumerate(endpoints) if one.mode == "harm"]
    weights = shares([endpoints[i].primary for i in harm])
    for values in (worse, better):
        for i, value in zip(harm, holm([values[i] for i in harm], weights), strict=True):
            values[i] = value
    return worse, better


def _decision(one: Endpoint, effects: Effects, found: Inference, p: float, alpha: float, least: int) -> Decision:
    if effects.trouble:
        return Decision("not comparable", None, np.nan)
    margin = one.margin if one.margin is not None else Margin(0.0, effects.scale == "log")
    return decide(found, _on_scale(margin, one, effects), one.mode, alpha=alpha, shown=p <= alpha, least=least)


def _on_scale(margin: Margin, one: Endpoint, effects: Effects) -> float:
    """Return a margin on the scale of the effect.

    Raises:
        UsageError: If it is relative for a score, or in points for an error.
    """
    if margin.relative != (effects.scale == "log"):
        expected = "such as 3%, a share of the error" if effects.scale == "log" else "such as 1pp, in points"
        raise UsageError(f"The margin of '{one.metric}' is of the wrong kind", got=str(margin), expected=expected)
    return float(np.log1p(margin.value)) if margin.relative else margin.value


def _refuse_below_noise(line: Line) -> None:
    margin = line.endpoint.margin
    if margin is None or line.effects.trouble or not np.isfinite(line.noise):
        return
    if _on_scale(margin, line.endpoint, line.effects) < line.noise:
        floor = Margin(float(np.ceil(1e4 * line.shown(line.noise)) / 1e4), margin.relative)
        raise UsageError(
            f"The margin of {line.endpoint.metric} ({line.endpoint.where}) lies below the noise floor: the same "
            "checkpoint, evaluated twice, differs by more",
            got=str(margin),
            expected=f"at least {floor}",
        )


def _notes(base: Run, cand: Run, coverage: float) -> Iterator[str]:
    for run in (base, cand):
        if run.unfinished:
            yield f"{run.run_id} is not finished."
        if run.partial:
            yield f"{run.run_id} was limited to some of the data set's samples."
    for name, where in lone_conditions(base, cand):
        yield f"x {name}: only the {where} has it."
    if coverage < 1:
        yield f"{100 * coverage:.3g} % of the cells are in both runs; the others are in no number."


def default_endpoints(
    base: Run,
    cand: Run,
    metrics: Sequence[str],
    *,
    by: str = "corruption",
    margin: Margin | None = None,
    mode: str = "harm",
) -> list[Endpoint]:
    """Return what `robench compare` asks: the first metric over all corruptions first, then condition by condition.

    Args:
        base: Run compared with.
        cand: Run compared.
        metrics: The first is the primary.
        by: ``corruption`` for lines a corruption, ``severity`` a corruption and severity, ``all`` for none of these.
        margin: Of the primary endpoint.
        mode: Of the primary endpoint, ``harm`` or ``safety``.

    Raises:
        NotComparable: If the runs share no corruption and no clean cell.
    """
    rows = base.rows.merge(cand.rows, on=["corruption", "severity", "metric"], suffixes=("", "_cand"))
    rows = rows.assign(corruption=rows["corruption"].where(rows["severity"] != 0, CLEAN))
    conditions = sorted({*zip(rows["corruption"], rows["severity"], strict=True)})
    corruptions = sorted({name for name, _ in conditions} - {CLEAN})
    if not conditions:
        raise NotComparable("The two runs share no corruption")
    found: list[Endpoint] = []
    for metric in metrics:
        one = Endpoint(metric, None if corruptions else (CLEAN,))
        if not found:
            one = replace(one, margin=margin, mode="safety" if mode == "safety" else "harm", primary=True)
        found.append(one)
        if corruptions and (CLEAN, 0) in conditions:
            found.append(Endpoint(metric, (CLEAN,)))
        if by == "corruption":
            found += [Endpoint(metric, (name,)) for name in corruptions]
        elif by == "severity":
            found += [Endpoint(metric, (name,), (int(s),)) for name, s in conditions if name != CLEAN]
    return [*found, Endpoint(FAILURE_RATE, None if corruptions else (CLEAN,))]
