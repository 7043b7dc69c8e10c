"""Which lines a page shows, what they are called, and values as JSON can hold them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from robench.errors import printable


class Series(NamedTuple):
    """One run under one masker: a line of the curves, a map, a column of a sample's view."""

    model: str
    run_id: str
    masker: str


def series_of(table: pd.DataFrame) -> list[Series]:
    """Return the runs and maskers of a table (or of rows), in its order."""
    keys = table[["model", "run_id", "masker"]].drop_duplicates()
    return [Series(*map(str, key)) for key in keys.itertuples(index=False)]


def series_names(series: Sequence[Series]) -> list[str]:
    """Return the shortest names that tell the series apart, `printable`."""
    names: list[str] = []
    for fields in (("model",), ("model", "masker"), ("run_id",), ("run_id", "masker"), Series._fields):
        names = [printable(", ".join(getattr(one, field) for field in fields)) for one in series]
        if len(set(names)) == len(names):
            break
    return names


def known(value: Any) -> Any:
    """Return a value as JSON holds it: a number that is not finite is None, a text is `printable`."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, bool) or value is None:
        return value
    number = float(value)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() else float(f"{number:.6g}")


def script_json(data: Mapping[str, Any]) -> str:
    """Return JSON that may stand inside a script element: nothing in it can end the element or begin another.

    Raises:
        ValueError: If a number is not finite.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
