"""The small tables under a comparison: measures against a reference, and where losses come from."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from robench.analysis.comparison import Comparison
from robench.analysis.decomposition import PARTS
from robench.analysis.intervals import Interval
from robench.errors import printable
from robench.reporting.causes import LABELS, where
from robench.reporting.labels import MISSING, corruption_label, interval, number

_MEASURES = {
    "clean": "Clean",
    "corrupted": "Corrupted",
    "delta": "Δ",
    "ratio_gm": "Ratio",
    "rr": "RR",
    "mce": "mCE",
    "relative_mce": "Relative mCE",
}


class Extra(NamedTuple):
    """A small table, every text `printable`."""

    title: str
    heads: list[str]
    rows: list[list[str]]


def extras(found: Comparison) -> list[Extra]:
    """Return the tables that a comparison has beside its lines."""
    made = []
    if found.measures:
        made.append(_measures(found))
    if found.parts is not None and len(found.parts):
        made.append(_parts(found))
    return made


def _measures(found: Comparison) -> Extra:
    shown = {
        name: head for name, head in _MEASURES.items() if any(math.isfinite(m[name].value) for m in found.measures)
    }
    heads = ["Model", *shown.values(), "Worst", "Failures", "Mask IoU"]
    rows = []
    for run, measured in zip((found.base, found.cand), found.measures, strict=True):
        cells = [_spread(measured[name], sign=name == "delta") for name in shown]
        worst = f"{corruption_label(measured['worst_corruption'])} ×{number(measured['worst_ratio'])}"
        rows.append(
            [
                printable(run.model),
                *cells,
                printable(worst) if measured["worst_corruption"] else MISSING,
                f"{100 * measured['failure_rate']:.1f} %",
                number(measured["mask_iou"], 3),
            ]
        )
    reference = found.measures[0]["reference"]
    against = f", against {reference['model']} ({reference['run_id']}, rows {reference['rows_sha256'][:8]})"
    return Extra(printable(f"Measures of {found.lines[0].endpoint.metric}{against if reference else ''}"), heads, rows)


def _parts(found: Comparison) -> Extra:
    table = found.parts
    assert table is not None
    shown = {name: head for name, head in LABELS.items() if table[name].notna().any()}
    if {"alignment", "shape"} <= set(shown):
        shown.pop("rest", None)
    rows = []
    for _, row in table.iterrows():
        cells = [_spread(Interval(row[part], row[f"{part}_lo"], row[f"{part}_hi"], 0, ""), sign=True) for part in shown]
        rows.append([printable(where(str(row["corruption"]))), *cells])
    metric = found.lines[0].endpoint.metric
    title = f"Where the losses of {found.cand.model} come from ({metric}, corrupted minus clean)"
    return Extra(printable(title), ["Where", *shown.values()], rows)


def _spread(one: Interval, *, sign: bool = False) -> str:
    return f"{number(one.value, 2, sign=sign)} {interval(one.lo, one.hi)}".strip()


def extras_json(found: Comparison) -> dict[str, Any]:
    """Return the same as plain values; what is missing is null."""
    made: dict[str, Any] = {}
    if found.measures:
        made["measures"] = [
            {"run_id": printable(run.run_id), **{name: _plain(value) for name, value in measured.items()}}
            for run, measured in zip((found.base, found.cand), found.measures, strict=True)
        ]
    if found.parts is not None:
        made["parts"] = _plain(found.parts)
        made["parts_order"] = list(PARTS)
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if hasattr(value, "to_dict"):
        return [{str(k): _plain(v) for k, v in row.items()} for row in value.to_dict("records")]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return printable(value) if isinstance(value, str) else value
