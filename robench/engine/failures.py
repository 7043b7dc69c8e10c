"""What an exception means for a sample: a failure with a kind, unless it is about the machine."""

from __future__ import annotations

import traceback

from robench.contracts import Failure
from robench.errors import FailureKind, RobenchError, SampleFailure

_MESSAGE = 200


def failure_of(error: Exception) -> tuple[Failure, str]:
    """Return the failure that an exception stands for, and its trace.

    Raises:
        RobenchError: The error itself, where it is about the machine or the command and not about the sample.
    """
    trace = "".join(traceback.format_exception(error))
    if isinstance(error, SampleFailure):
        return Failure(error.kind, error.message), trace
    if isinstance(error, RobenchError):
        raise error
    kind: FailureKind = "oom" if is_out_of_memory(error) else "failed"
    message = f"{type(error).__name__}: {error}"[:_MESSAGE]
    return Failure(kind, message), trace


def is_out_of_memory(error: BaseException) -> bool:
    """True for memory that ran out, on the machine or on its accelerator."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "out of memory" in str(error).lower())
    )
