"""The command line answers at once: nothing slow is imported to print a help text or a list."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

BUDGET_S = 0.5
SLOW = ("torch", "cv2", "av", "warp", "anny", "rembg", "onnxruntime", "pandas", "pyarrow", "matplotlib", "scipy",
        "skimage", "trimesh")  # fmt: skip
COMMANDS = [
    ["--help"],
    ["evaluate", "--help"],
    *(["list", kind] for kind in ("models", "corruptions", "maskers", "metrics", "datasets", "recipes")),
    ["list"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_nothing_slow_is_imported(command: list[str]) -> None:
    script = f"""
import sys
from robench.cli import main
try:
    main()
except SystemExit as end:
    assert end.code in (0, None), end.code
print("slow:", *[name for name in {SLOW!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "slow:"


def _seconds(command: list[str]) -> float:
    """Return the processor time of a command; it waits for nothing, so that a free core needs as long by the clock."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "robench", *command], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


@pytest.mark.parametrize("command", [["--help"], ["list", "models"]], ids=" ".join)
def test_it_answers_within_half_a_second(command: list[str]) -> None:
    # One of five is enough: other work on the machine only ever adds time.
    assert any(_seconds(command) < BUDGET_S for _ in range(5))
