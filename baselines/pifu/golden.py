"""Files of golden values: what is in one, which configuration it is of, and whether an implementation agrees with it.

A golden file names its configuration by its own name, and carries the weight rule and offset. Tolerances are absolute,
per array, in a JSON file: ten times the float32 noise that the original itself shows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.pifu.weight_rules import Rule, fill
from robench.errors import UsageError

Arrays = Mapping[str, NDArray[Any]]
N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class ParityLine:
    """One compared array.

    Attributes:
        array: Its name in the golden file.
        error: Largest absolute difference.
        relative: `error` over the golden's largest absolute value (over 1 where that is 0).
        tolerance: Largest absolute difference that passes.
        ok: Whether it passes.
    """

    array: str
    error: float
    relative: float
    tolerance: float
    ok: bool


@dataclass(frozen=True)
class Case:
    """A configuration in one number format.

    Attributes:
        rule: Weight rule.
        offset: Of the rule.
        dtype: ``float32``, or ``float64`` where float32 noise would hide mistakes.
        stored: The golden file's arrays (some inputs are only there).
    """

    rule: Rule
    offset: float
    dtype: torch.dtype
    stored: Arrays

    def filled(self, net: N) -> N:
        """Fill a network by the rule and put it into evaluation mode."""
        fill(net, self.rule, self.offset)
        return net.to(self.dtype).eval()

    def tensor(self, array: NDArray[Any]) -> Tensor:
        """Return an array as a batch of one in the case's number format."""
        return torch.from_numpy(np.asarray(array)).to(self.dtype)[None]


Cases = Mapping[str, Callable[[Case], dict[str, NDArray[Any]]]]
"""Configurations by name: each makes the arrays of its golden file."""
_NOT_COMPARED = {"offset", "rule", "grad_names"}


def case_name(golden: Path, cases: Cases, system: str) -> str:
    """Return the configuration that a golden file's name begins with (after ``hash_``).

    Args:
        golden: Its path.
        cases: Among which.
        system: What to call them in a message.

    Raises:
        UsageError: If it names none.
    """
    stem = golden.name.removesuffix(".npz").removeprefix("hash_")
    fitting = [name for name in cases if stem == name or stem.startswith((f"{name}_", f"{name}-", f"{name}."))]
    if not fitting:
        raise UsageError(
            f"{golden.name} names no configuration of {system}",
            expected="[hash_]NAME.npz with NAME of " + ", ".join(cases),
        )
    return max(fitting, key=len)


def read_golden(golden: Path) -> dict[str, NDArray[Any]]:
    """Read a golden file's arrays, without running code in it.

    Raises:
        UsageError: If it is missing, damaged or has no offset and rule.
    """
    if not golden.is_file():
        raise UsageError("There is no such file of golden values", got=str(golden))
    try:
        with np.load(golden, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except Exception as error:
        raise UsageError(
            f"{golden} is not a readable .npz of golden values", got=f"{type(error).__name__}: {str(error)[:120]}"
        ) from error
    if "offset" not in arrays or str(arrays.get("rule", "")) not in ("sin", "hash"):
        raise UsageError(f"{golden} is no file of golden values", expected="arrays 'offset' and 'rule' (sin or hash)")
    return arrays


def compared(golden: Path, cases: Cases, tolerances: Path, system: str) -> list[ParityLine]:
    """Compare an implementation with a golden file.

    Args:
        golden: A ``.npz`` whose name begins with a configuration, e.g. ``hash_pifu_tiny_group.npz``.
        cases: The implementation's configurations.
        tolerances: JSON file of what each array of each golden file may differ by.
        system: What to call the configurations in a message.

    Returns:
        One line for each array of the file. Arrays whose float32 noise hides mistakes are compared in float64.

    Raises:
        UsageError: If the file is unreadable, names no configuration, or has an array that is not known.
    """
    name, stored = case_name(golden, cases, system), read_golden(golden)
    rule = cast(Rule, str(stored["rule"]))
    offset = float(stored["offset"])
    prefix = "hash_" if rule == "hash" else ""
    limits: dict[str, dict[str, Any]] = json.loads(tolerances.read_text("utf-8"))[prefix + name]
    wanted = [k for k in stored if k not in _NOT_COMPARED]
    double = [k for k in wanted if not limits.get(k, {"float32_ok": True})["float32_ok"]]
    run = cases[name]
    single = run(Case(rule, offset, torch.float32, stored)) if len(double) < len(wanted) else {}
    precise = run(Case(rule, offset, torch.float64, stored)) if double else {}
    lines = []
    for key in wanted:
        found = (precise if key in double else single).get(key)
        if found is None:
            raise UsageError(f"{golden.name} has an array that this configuration does not make", got=key)
        limit = limits.get(key, {})
        tolerance = float(limit.get("atol_float64" if key in double else "atol", 1e-6))
        if stored[key].dtype.kind == "U":
            same = np.array_equal(found, stored[key])
            lines.append(ParityLine(key, float(not same), float(not same), 0.0, same))
        else:
            lines.append(_compare(key, np.asarray(found, np.float64), stored[key].astype(np.float64), tolerance))
    return lines


def _compare(name: str, found: NDArray[np.float64], golden: NDArray[np.float64], tolerance: float) -> ParityLine:
    largest = float(np.abs(golden).max(initial=0.0)) or 1.0
    if found.shape != golden.shape:
        return ParityLine(name, float("inf"), float("inf"), tolerance, False)
    error = float(np.abs(found - golden).max(initial=0.0))
    # Golden values are stored in float32: below one step of the largest they tell nothing.
    tolerance = max(tolerance, largest * 2.0**-23) if tolerance else 0.0
    return ParityLine(name, error, error / largest, tolerance, error <= tolerance)
