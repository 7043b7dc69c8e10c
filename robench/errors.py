"""Errors of robench, and the exit code that each one ends a command with.

A message says what happened, what was got, what was expected, and what to do next; a user's mistake never
shows a traceback.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Any, Literal

# What a terminal, a log or a line of a table obeys instead of showing: C0 and C1 controls (newlines and escape
# sequences among them), line separators, changes of writing direction, and bytes of file names that are no text.
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

FailureKind = Literal["failed", "timeout", "oom", "no_detection", "degenerate", "skipped"]


def printable(text: str) -> str:
    """Return a text on one line in which control characters are shown, not obeyed: an escape as its code.

    For every text that somebody else may have named: file names, ids, what a library said about a file.
    """
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class ExitCode(IntEnum):
    """What a robench command's exit code means."""

    OK = 0
    BUG = 1
    USAGE = 2
    TOO_MANY_FAILURES = 3
    GATE_REGRESSION = 4
    GATE_INCONCLUSIVE = 5
    NOT_COMPARABLE = 6
    ENVIRONMENT = 7
    MISMATCH = 8
    INTERRUPTED = 130
    TERMINATED = 143


class RobenchError(Exception):
    """Base of every error that robench raises on purpose. Its texts are `printable`.

    Args:
        what: One clear sentence: what is wrong.
        got: What was found.
        expected: What would have been right.
        hint: The next command or step.
    """

    exit_code: ExitCode = ExitCode.BUG

    def __init__(self, what: str, *, got: str = "", expected: str = "", hint: str = "") -> None:
        self.what, self.got, self.expected, self.hint = map(printable, (what, got, expected, hint))
        parts = [self.what.rstrip(".")]
        if got:
            parts.append(f"got {self.got}")
        if expected:
            parts.append(f"expected {self.expected}")
        text = "; ".join(parts) + "."
        if hint:
            text += f" Try: {self.hint}"
        super().__init__(text)

    def __reduce__(self) -> tuple[Any, ...]:
        # Worker processes send errors home as pickles; the default would call __init__ with the finished text.
        return _revived, (type(self), self.args, self.__dict__)


def _revived(kind: type[RobenchError], args: tuple[Any, ...], state: dict[str, Any]) -> RobenchError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class UsageError(RobenchError):
    """The user asked for something that cannot be: a wrong name, path, value or file."""

    exit_code = ExitCode.USAGE


class EnvironmentNotReady(RobenchError):
    """A device, a system library, weights or disk space is missing."""

    exit_code = ExitCode.ENVIRONMENT


class NotComparable(RobenchError):
    """Two results differ in protocol, data or recipe and must not be merged."""

    exit_code = ExitCode.NOT_COMPARABLE


class TooManyFailures(RobenchError):
    """More samples could not be done than the user allows; what was done is kept."""

    exit_code = ExitCode.TOO_MANY_FAILURES


class Mismatch(RobenchError):
    """Stored bytes or values differ from what their record says."""

    exit_code = ExitCode.MISMATCH


class SampleFailure(RobenchError):
    """One sample could not be done; becomes a row with a status, never a gap.

    Args:
        kind: The status that the row gets.
        message: A short reason (200 characters are kept).
    """

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind: FailureKind = kind
        self.message = self.what[:200]
