"""Batches to a model and outcomes back, whatever the model does: each sample gets an outcome of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from robench.contracts import Failure, OpenReport, Reconstruction
from robench.engine.batches import batched
from robench.engine.model_process import Answer, EndedWhileOpened, Model, ModelLost
from robench.engine.pipeline import Event, Outcome, Prepared
from robench.errors import NotComparable

_OPENINGS = 5
"""Times that a lost model is started before the run is stopped."""


@dataclass(frozen=True)
class Patience:
    """How much a sample may cost.

    Attributes:
        retries: How often a sample is tried again whose model died, hung or ran out of memory.
        timeout_s: Seconds that a sample may take; None waits for ever.
    """

    retries: int = 2
    timeout_s: float | None = None


class Guard:
    """A model that is started again when it is lost.

    Args:
        model: Started.
        patience: How often and how long.
        event: Gets what happened.
    """

    def __init__(self, model: Model, patience: Patience, event: Event) -> None:
        self._model, self._patience, self._event = model, patience, event
        self._report = model.opened()

    @property
    def report(self) -> OpenReport:
        """What the model said when it was opened."""
        return self._report

    def reconstructed(self, items: Iterable[Prepared], batch_size: int) -> Iterator[tuple[Prepared, Outcome]]:
        """Yield every item with its outcome, in order.

        The items of a batch are handed on while the model works on the next, so that scoring costs no time.

        Raises:
            RobenchError: What the model says about the machine; what came before was handed on.
        """
        behind: list[tuple[Prepared, Outcome]] = []
        for batch in batched(items, batch_size):
            sound = [item for item in batch if item.failure is None]
            if sound:
                self._model.send([item.request for item in sound])
            yield from behind
            outcomes = iter(self._received(sound) if sound else ())
            behind = [(item, Outcome(item.failure) if item.failure else next(outcomes)) for item in batch]
        yield from behind

    def _received(self, batch: Sequence[Prepared]) -> list[Outcome]:
        """Return the outcomes of a batch that was sent; a failure of a batch is tried again one by one."""
        answer = self._answer(batch)
        if len(batch) == 1:
            return [self._alone(batch[0], answer)]
        if answer.trace or _may_change(answer):
            return [self._alone(item) for item in batch]
        return _outcomes(answer, attempt=1)

    def _alone(self, item: Prepared, answer: Answer | None = None) -> Outcome:
        """Try one item until it is done or patience ends; `answer` is what it got so far."""
        attempt = 0 if answer is None else 1
        while answer is None or (_may_change(answer) and attempt <= self._patience.retries):
            self._model.send([item.request])
            answer = self._answer([item])
            attempt += 1
        return _outcomes(answer, attempt)[0]

    def _answer(self, batch: Sequence[Prepared]) -> Answer:
        limit = self._patience.timeout_s
        keys = [item.cell.key for item in batch]
        try:
            answer = self._model.receive(None if limit is None else limit * len(batch))
        except ModelLost as error:
            failure = Failure(error.kind, str(error))
            self._event("model_lost", kind=error.kind, message=str(error), keys=keys)
            self._restart()
            return Answer([failure] * len(batch), 0.0, lost=True)
        if answer.trace:
            first = answer.results[0]
            assert isinstance(first, Failure)
            self._event("failed", kind=first.kind, message=first.message, trace=answer.trace, keys=keys)
        return answer

    def _restart(self) -> None:
        report = self._reopened()
        if report.checkpoint_sha256 != self._report.checkpoint_sha256:
            raise NotComparable(
                "The checkpoint changed while the run was under way",
                got=report.checkpoint_sha256[:8],
                expected=self._report.checkpoint_sha256[:8],
                hint="run the command again: it makes another run",
            )

    def _reopened(self) -> OpenReport:
        """Start the model again, a few times if it dies while it is opened: memory may be short for a moment."""
        for left in reversed(range(_OPENINGS)):
            self._model.close()
            self._model.start()
            try:
                return self._model.opened()
            except EndedWhileOpened as error:
                self._event("model_not_opened", message=str(error), left=left)
                if not left:
                    raise
        raise AssertionError("unreachable")


def _may_change(answer: Answer) -> bool:
    """True if another try may end otherwise: a model that was lost or out of memory, not one that says no."""
    return answer.lost or any(isinstance(result, Failure) and result.kind == "oom" for result in answer.results)


def _outcomes(answer: Answer, attempt: int) -> list[Outcome]:
    share = answer.seconds / len(answer.results)
    return [
        Outcome(
            result,
            None if answer.lost else share,
            answer.gpu_mem_mb,
            dict(result.timings) if isinstance(result, Reconstruction) else {},
            attempt,
        )
        for result in answer.results
    ]
