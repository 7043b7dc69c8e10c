"""``python -m benchmarks [NAME ...]``: run ``bench_NAME.py`` (all by default) and print what was measured.

A benchmark is a module with ``run() -> dict``: ours and a peer on the same input, in the same process, on one thread.
One with ``rows`` also has ``show(result)``, which prints them as a table; they are written to
``benchmarks/results/NAME-MACHINE.csv``. Of the others, the result is printed as JSON.
"""

from __future__ import annotations

import contextlib
import csv
import importlib
import json
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

from robench.reporting.tables import defused

HERE = Path(__file__).parent


def processor() -> str:
    """Return a name of this machine's processor that can be part of a file's name."""
    text = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        text = found.group(1) if found else text
    return f"{re.sub('[^a-z0-9]+', '-', text.lower()).strip('-')}-{os.cpu_count()}"


def write_csv(name: str, rows: list[dict[str, Any]], folder: Path = HERE / "results") -> Path:
    """Write rows, numbers to four digits, and return the file."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{processor()}.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else defused(v) for k, v in row.items()})
    return path


def main(wanted: list[str]) -> int:
    known = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        print(f"There is no benchmark {', '.join(unknown)}; expected some of {', '.join(known)}.", file=sys.stderr)
        return 2
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    for name in wanted or known:
        module = importlib.import_module(f"benchmarks.bench_{name}")
        result = module.run()
        if "rows" in result:
            module.show(result)
            print(f"Written to {write_csv(name, result['rows']).relative_to(HERE.parent)}.")
        else:
            print(json.dumps({"benchmark": name, **machine, **result}, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
