"""A program: give a pickled shard of a pickled job to Ray; say which error comes back, or stop after the first cell."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from robench.engine.executors import executor
from robench.engine.run_folder import journal_path
from robench.errors import RobenchError

job, shard = pickle.loads(Path(sys.argv[1]).read_bytes())
journal = journal_path(job.run, shard.number)
work = executor("ray")(job, [shard])
try:
    for _ in work:
        if journal.exists() and journal.stat().st_size:
            break
    work.close()
    said = "stopped"
except RobenchError as error:
    said = f"{type(error).__name__} {error}"
sys.stdout.write(said + "\n")
sys.stdout.flush()
sys.stdin.read()
