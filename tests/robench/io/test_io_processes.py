"""Workers end with the process that started them."""

import subprocess
import sys
import time
from pathlib import Path

PROGRAM = """
import os, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from robench.io.processes import end_with_parent

if __name__ == "__main__":
    pool = ProcessPoolExecutor(2, get_context("spawn"), initializer=end_with_parent)
    pool.submit(time.sleep, 0.5)
    print(*{future.result() for future in [pool.submit(os.getpid) for _ in range(2)]}, *pool._processes, flush=True)
    time.sleep(60)
"""


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_workers_of_a_killed_process_end():
    parent = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    workers = {int(pid) for pid in parent.stdout.readline().split()}
    assert len(workers) == 2
    assert all(map(is_alive, workers))
    parent.kill()
    parent.communicate(timeout=30)
    until = time.monotonic() + 20
    while any(map(is_alive, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_alive, workers))
