"""``python -m benchmarks [NAME ...]``: run ``bench_NAME.py`` (all by default) and print one JSON object each.

A benchmark is a module with ``run() -> dict``: ours and a peer on the same input, in the same process, on one thread.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main(wanted: list[str]) -> int:
    known = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        print(f"There is no benchmark {', '.join(unknown)}; expected some of {', '.join(known)}.", file=sys.stderr)
        return 2
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    for name in wanted or known:
        result = importlib.import_module(f"benchmarks.bench_{name}").run()
        print(json.dumps({"benchmark": name, **machine, **result}, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
