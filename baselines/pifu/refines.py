"""Gives a model of the registry the refinement of its colours, without loading torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from robench.contracts import Card, Encoder, Failure, Refinement, RefineRequest, RefineSettings
from robench.errors import UsageError

if TYPE_CHECKING:
    from baselines.pifu.predict import Predictor


class RefinesColours:
    """What ``robench refine`` needs of a model around PIFu's networks."""

    card: Card
    crop: Literal["auto", "none"]
    _predictor: Predictor | None

    def check_refine(self) -> None:
        """Look whether there is something to refine, before any sample is worked on.

        Raises:
            UsageError: If the model is not open, or has no colour network.
        """
        if self._opened().weights.colour is None:
            raise UsageError(
                f"The weights of the model '{self.card.name}' have no colour network: there are no colours to refine",
                expected="net_C beside net_G, or --model pifu-mini",
            )

    def _opened(self) -> Predictor:
        if self._predictor is None:
            raise UsageError(f"The model '{self.card.name}' is not open", hint="call open(device, weights) first")
        return self._predictor

    def refine(
        self,
        requests: Sequence[RefineRequest],
        encoder: Encoder,
        settings: RefineSettings,
        tick: Callable[[], None] | None = None,
    ) -> list[Refinement | Failure]:
        """Refine the colours of samples at test time; see `baselines.pifu.refinement.refine_colours`.

        Raises:
            UsageError: If the model is not open, or has no colour network.
        """
        from baselines.pifu.rays import arithmetic
        from baselines.pifu.refinement import refine_colours

        self.check_refine()
        predictor = self._opened()
        predictor.crop = self.crop
        with arithmetic(predictor.device, predictor.precision):
            return refine_colours(predictor, requests, encoder, settings, tick)
