"""The gate: a comparison under a policy that was declared beforehand, and the exit code it ends with."""

from __future__ import annotations

from robench.analysis.comparison import Comparison, compare
from robench.analysis.policy import Policy, check_baseline
from robench.analysis.provenance import Run
from robench.analysis.rows import scored
from robench.errors import ExitCode, NotComparable


def gate(base: Run, cand: Run, policy: Policy, *, again: Run | None = None) -> Comparison:
    """Compare a candidate with a base as a policy says.

    Args:
        base: The baseline's run.
        cand: The candidate's run.
        policy: What may not get worse.
        again: A second run of the base's checkpoint: margins below what it shifts are refused.

    Raises:
        NotComparable: If protocols differ, a run is unfinished or (unless the policy allows it) partial, the base is
            not the declared baseline, too few cells are shared, or an endpoint has no value.
        UsageError: If the policy names what the runs lack, or a margin lies below the noise floor.
    """
    for run in (base, cand, *([again] if again is not None else [])):
        if run.unfinished:
            raise NotComparable(f"'{run.path}' is not finished", hint=f"robench resume {run.path}")
        if run.partial and policy.partial == "refuse":
            raise NotComparable(
                f"'{run.path}' is partial: it took only some of the data set's samples",
                hint="evaluate all of them, or say 'partial: allow' in the policy",
            )
    if policy.baseline is not None:
        check_baseline(policy.baseline, base)
    shared = base.rows[base.rows["metric"].isin(set(cand.rows["metric"]))]
    directions = dict(zip(shared["metric"], shared["direction"], strict=True))
    found = compare(
        base,
        cand,
        policy.spread(_conditions(base) & _conditions(cand), directions),
        alpha=policy.alpha,
        resamples=policy.resamples,
        seed=policy.seed,
        min_coverage=policy.min_coverage,
        min_subjects=policy.min_subjects,
        again=again,
    )
    for line in found.lines:
        if line.effects.trouble:
            raise NotComparable(
                f"{line.endpoint.metric} ({line.endpoint.where}) has no value: {line.effects.trouble}",
                hint="robench report RUN, which shows every cell",
            )
    return found


def _conditions(run: Run) -> set[tuple[str, int]]:
    rows = scored(run.rows)
    return {(str(name), int(severity)) for name, severity in zip(rows["corruption"], rows["severity"], strict=True)}


def exit_code(found: Comparison, policy: Policy) -> ExitCode:
    """Return the code that `robench gate` ends with."""
    if found.verdict in ("regression", "not shown safe"):
        return ExitCode.GATE_REGRESSION
    if found.verdict == "inconclusive" and policy.inconclusive == "fail":
        return ExitCode.GATE_INCONCLUSIVE
    return ExitCode.NOT_COMPARABLE if found.verdict == "not comparable" else ExitCode.OK
