"""The commands that make an entry again, from its record: what a reader copies into a terminal."""

from __future__ import annotations

import shlex

from robench.errors import printable
from robench.leaderboard.record import Record

DATA, SETS, RUNS = "DATA", "csets", "runs"
"""Folders in the commands; the first is the reader's own."""


def commands(record: Record) -> list[tuple[str, str]]:
    """Return ``(what to look for, command)``, each a line of a shell; quotes are set, so that a name stays a name.

    The ids in the names of set and run are hashes of what is inside: a set or a run of the same name is the same work.
    How the data are got or made is not a fact of a run: the board's card says it.
    """
    run = record.run
    data, recipe, protocol = run["dataset"], run["recipe"], run["protocol"]
    split = ["--split", data["split"]] if data["split"] else []
    cset = [*split, "--recipe", recipe["name"]]
    cset += ["--seed", str(run["seed"])] if run["seed"] else []
    cset += ["--depth", run["depth"]] if run["depth"] else []
    model = ["--model", run["model"], "--masker", protocol["masker"]["name"]]
    options = protocol.get("model_options") or {}
    for name in sorted(options):
        model += ["--model-option", f"{name}={options[name]}"]
    model += ["--threads", str(run["threads"])] if run["threads"] != 1 else []
    return [
        (f"revision {data['revision'][:12]}, {data['samples']} samples", _line("robench", "data", "info", DATA)),
        (f"a set whose name ends in -{run['cset_id'][:8]}", _line("robench", "corrupt", DATA, SETS, *cset)),
        (
            f"the run {record.run_id}",
            f"{_line('robench', 'evaluate', *model)} --cset {SETS}/*-{run['cset_id'][:8]} --out {RUNS}",
        ),
    ]


def _line(*words: str) -> str:
    return printable(shlex.join(words))
