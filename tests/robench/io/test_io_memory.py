from __future__ import annotations

import ctypes
import subprocess
import sys

from robench.io import memory

HOLES = """
import numpy as np
from robench.io.memory import give_back

def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) // 1024

blocks = [np.ones(100_000, np.uint8) for _ in range(1000)]
kept = blocks[9::10]
full = resident()
del blocks
freed = resident()
give_back()
print(full - freed, full - resident(), sum(int(block.sum()) for block in kept))
"""


def test_freed_memory_between_kept_blocks_goes_back():
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    by_itself, given_back, kept = map(int, done.stdout.split())
    assert kept == 100 * 100_000
    assert by_itself < 20  # 90 MB are free, but under blocks in use
    assert given_back > 70


def test_without_glibc_nothing_happens(monkeypatch):
    class Other:
        def __getattr__(self, name):
            raise AttributeError(name)

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Other())
    memory._trim.cache_clear()
    try:
        memory.give_back()
    finally:
        memory._trim.cache_clear()
