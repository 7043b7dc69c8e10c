"""The command line: ``robench VERB``.

One module a verb, each with ``register(app)``. Whatever is slow to import (torch, cv2, pandas, ...) is imported inside
the body of a command, so that ``robench --help`` answers at once.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import os
import signal
import tempfile
import traceback
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

import robench
from robench.errors import ExitCode, RobenchError, printable

VERBS = (
    "list",
    "show",
    "doctor",
    "data",
    "corrupt",
    "verify",
    "mask",
    "evaluate",
    "status",
    "resume",
    "train",
    "adapt",
    "parity",
    "refine",
    "similarity",
    "reproduce",
    "report",
    "compare",
    "gate",
    "publish",
    "leaderboard",
    "fetch",
)
"""Modules of this package, in the order of ``robench --help``."""

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_NOT_WRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM}


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"robench {robench.__version__}")
        raise typer.Exit


app = typer.Typer(
    name="robench",
    help="How robust is a single-image 3D human reconstructor?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """How robust is a single-image 3D human reconstructor?"""


for _verb in VERBS:
    importlib.import_module(f"{__name__}.{_verb}").register(app)


def main() -> None:
    """Run the command line and exit with a code of `robench.errors.ExitCode`.

    A `RobenchError` and a full or read-only disk end in one sentence on stderr. Anything else that is raised is a bug:
    its traceback is kept in a file, whose path is printed.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app(prog_name="robench")
    except RobenchError as error:
        _stop(str(error), error.exit_code)
    except KeyboardInterrupt:
        _stop("Interrupted.", ExitCode.INTERRUPTED)
    except Exception as error:
        _stop(*explain(error))


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    # SystemExit, so that every `finally` on the way out still runs.
    raise SystemExit(int(ExitCode.TERMINATED))


def _stop(message: str, code: ExitCode) -> NoReturn:
    typer.echo("\n".join(printable(line) for line in message.split("\n")), err=True)
    raise SystemExit(int(code))


def explain(error: Exception) -> tuple[str, ExitCode]:
    """Return one sentence and the exit code for an error that no command turned into a `RobenchError`."""
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return f"The disk is full{_at(error)}. Free some space and run the same command again: it resumes.", (
            ExitCode.ENVIRONMENT
        )
    if isinstance(error, OSError) and error.errno in _NOT_WRITABLE:
        return f"No permission{_at(error)} ({os.strerror(error.errno or 0)}). Choose a path that you may use.", (
            ExitCode.USAGE
        )
    text = "".join(traceback.format_exception(error))
    kept = _keep(text)
    where = f"The traceback is in {kept}." if kept else text
    return f"Unexpected {type(error).__name__}: {error}. This is a bug in robench or a plug-in. {where}", ExitCode.BUG


def _at(error: OSError) -> str:
    return f" at {error.filename}" if error.filename else ""


def _keep(text: str) -> Path | None:
    """Write a traceback to a file named by its content; None where even that cannot be written."""
    try:
        path = Path(tempfile.gettempdir()) / f"robench-{hashlib.sha256(text.encode()).hexdigest()[:8]}.txt"
        # In a folder that everybody writes to: whoever guessed the name must not choose what is overwritten.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError:
        return None
    return path
