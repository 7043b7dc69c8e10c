"""Two runs, cell by cell: whether they may be compared, and the pairs that they have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import pandas as pd

from robench.analysis.provenance import Run
from robench.analysis.rows import check_protocol, scored
from robench.errors import NotComparable

CELL = ["sample_id", "subject_id", "view_id", "corruption", "severity", "masker"]

MODEL = ("model", "checkpoint_sha256", "adapter_version")
"""What says which model a row is of."""

# What names a difference best comes first: another data set also is another corrupted set.
_TASK = ("schema_version", "dataset", "dataset_revision", "split_sha256", "cset_id")
_GIVEN = ("masker", "mask_source", "prior_source", "track")
_METRIC = ("metric_version", "unit", "direction", "n_points", "metric_seed", "alignment", "frame")


@dataclass(frozen=True, eq=False)
class Pairs:
    """The cells of one metric that two runs share.

    Attributes:
        metric: Its name.
        direction: ``lower`` or ``higher`` is better.
        unit: Of the scores.
        table: One row a shared cell: the columns `CELL`, ``base``, ``cand`` (scores; a failure's is its declared
            penalty, NaN without one), ``base_failed``, ``cand_failed``.
        union: Number of cells that either run has.
    """

    metric: str
    direction: str
    unit: str
    table: pd.DataFrame
    union: int

    @property
    def coverage(self) -> float:
        """Share of the cells that both runs have, in [0, 1]."""
        return len(self.table) / self.union if self.union else 0.0


def check_comparable(base: Run, cand: Run, *, again: bool = False) -> None:
    """Make sure that two runs did the same task with the same things given, under the same measures.

    An ingredient that one run does not state (null) agrees with any. The model, its options and its weights may differ.

    Args:
        base: The one.
        cand: The other.
        again: The two are to be the same checkpoint, evaluated twice; then the seed of the metrics' points may differ.

    Raises:
        NotComparable: If an ingredient differs; the message names it.
    """
    check_task(base, cand, again=again)
    for name in _GIVEN:
        _same(base, cand, name, base.rows, cand.rows)
    for name in ("frame", "masker", "penalty"):
        _same_protocol(base, cand, name)
    if again:
        _same_weights(base, cand)


def check_same_model(base: Run, cand: Run) -> None:
    """Make sure that two runs are of one model with one set of weights and options, whose failures cost the same.

    Raises:
        NotComparable: If an ingredient differs; the message names it.
    """
    _same_weights(base, cand)
    for name in ("model_options", "frame", "penalty"):
        _same_protocol(base, cand, name)


def _same_weights(base: Run, cand: Run) -> None:
    for name in MODEL:
        _same(base, cand, name, base.rows, cand.rows)


def check_task(base: Run, cand: Run, *, again: bool = False) -> None:
    """Make sure that two runs did the same task under the same measures, whatever they were given (masks, track).

    Args:
        base: The one.
        cand: The other.
        again: Let the seed of the metrics' points differ.

    Raises:
        NotComparable: If an ingredient differs; the message names it.
    """
    for run in (base, cand):
        check_protocol(run.rows)
    shared = sorted(set(base.rows["metric"]) & set(cand.rows["metric"]))
    if not shared:
        ours, theirs = (", ".join(sorted(set(run.rows["metric"]))) for run in (base, cand))
        _refuse(base, cand, "metric'", ours, theirs)
    for name in _TASK:
        _same(base, cand, name, base.rows, cand.rows)
    left_out = {"metric_seed"} if again else set()
    for metric in shared:
        ours, theirs = (run.rows[run.rows["metric"] == metric] for run in (base, cand))
        for name in _METRIC:
            if name not in left_out:
                _same(base, cand, name, ours, theirs, f" of metric '{metric}'")
    for corruption in sorted(set(base.rows["corruption"]) & set(cand.rows["corruption"])):
        ours, theirs = (run.rows[run.rows["corruption"] == corruption] for run in (base, cand))
        _same(base, cand, "corruption_version", ours, theirs, f" of '{corruption}'")


def _values(rows: pd.DataFrame, name: str) -> set[str]:
    return set(rows[name].dropna().astype(str)) if name in rows else set()


def _same(base: Run, cand: Run, name: str, ours: pd.DataFrame, theirs: pd.DataFrame, where: str = "") -> None:
    mine, yours = _values(ours, name), _values(theirs, name)
    if mine and yours and mine != yours:
        _refuse(base, cand, f"{name}'{where}", ", ".join(sorted(mine)), ", ".join(sorted(yours)))


def _same_protocol(base: Run, cand: Run, name: str) -> None:
    ours, theirs = (run.about.get("protocol") for run in (base, cand))
    if not (isinstance(ours, Mapping) and isinstance(theirs, Mapping) and name in ours and name in theirs):
        return
    for key, mine, yours in _differences(ours[name], theirs[name], f"protocol.{name}"):
        _refuse(base, cand, f"{key}'", str(mine), str(yours))


def _differences(mine: Any, yours: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(mine, Mapping) and isinstance(yours, Mapping):
        for key in sorted({*mine, *yours}, key=str):
            yield from _differences(mine.get(key), yours.get(key), f"{name}.{key}")
    elif mine != yours:
        yield name, mine, yours


def _refuse(base: Run, cand: Run, name: str, ours: str, theirs: str) -> NoReturn:
    raise NotComparable(
        f"'{base.path.name or base.run_id}' and '{cand.path.name or cand.run_id}' are not comparable: '{name} differs",
        got=f"{_short(ours)} and {_short(theirs)}",
        expected="one value",
        hint="robench evaluate both on the same set, in the same way",
    )


def _short(text: str) -> str:
    return text[:8] if len(text) == 64 and text.isalnum() else text[:120]


def pairs_of(base: Run, cand: Run, metric: str) -> Pairs:
    """Join two runs on their cells of one metric; what was skipped by choice in a run is no cell of it.

    Raises:
        NotComparable: If a run lacks the metric, or the two share no cell.
    """
    ours, theirs = (scored(run.rows[run.rows["metric"] == metric]) for run in (base, cand))
    for run, rows in ((base, ours), (cand, theirs)):
        if not len(rows):
            got = ", ".join(sorted(set(run.rows["metric"])))
            raise NotComparable(f"'{run.run_id}' has no row of '{metric}'", got=got, hint="robench evaluate --metrics")
    names = {"score": "base", "failed": "base_failed"}
    left = ours[[*CELL, "score", "failed"]].rename(columns=names)
    right = theirs[[*CELL, "score", "failed"]].rename(columns={"score": "cand", "failed": "cand_failed"})
    both = left.merge(right, on=CELL, how="inner", validate="one_to_one")
    if not len(both):
        raise NotComparable(f"'{base.run_id}' and '{cand.run_id}' share no cell of '{metric}'")
    first = ours.iloc[0]
    union = len(left) + len(right) - len(both)
    return Pairs(metric, str(first["direction"]), str(first["unit"]), both, union)


def check_coverage(pairs: Sequence[Pairs], least: float) -> None:
    """Make sure that two runs share enough of their cells.

    Raises:
        NotComparable: Below `least`, a share in [0, 1].
    """
    for one in pairs:
        if one.coverage < least:
            raise NotComparable(
                f"Too few cells of '{one.metric}' are in both runs",
                got=f"{len(one.table)} of {one.union} ({100 * one.coverage:.3g} %)",
                expected=f"at least {100 * least:g} %",
                hint="robench resume the unfinished run, evaluate both on the same samples, or ask for less coverage",
            )


def lone_conditions(base: Run, cand: Run) -> list[tuple[str, str]]:
    """Return ``(corruption, where)`` for each corruption that only one run has: ``base`` or ``candidate``."""
    ours, theirs = (set(scored(run.rows)["corruption"]) for run in (base, cand))
    return sorted([*((name, "base") for name in ours - theirs), *((name, "candidate") for name in theirs - ours)])
