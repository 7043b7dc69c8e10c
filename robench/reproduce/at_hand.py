"""Which weights are there, and which command fetches or names those that are not."""

from __future__ import annotations

from collections.abc import Sequence

from robench import registry
from robench.contracts import Sample
from robench.engine.encoder_choice import open_encoder, split_name
from robench.errors import EnvironmentNotReady, RobenchError
from robench.reproduce.outputs import Missing
from robench.reproduce.settings import ModelChoice


def model(choice: ModelChoice) -> list[Missing]:
    """Open a model, and return what it lacks.

    Raises:
        UsageError, Mismatch: If its weights are there and wrong.
    """
    try:
        found = registry.load("models", choice.name)
        found.open("cpu", choice.checkpoint)
    except EnvironmentNotReady as error:
        return [Missing(error.what, error.hint or f"robench reproduce 2d-priors --model {choice.name}:CHECKPOINT")]
    found.close()
    return []


def masker(name: str, samples: Sequence[Sample]) -> list[Missing]:
    """Return what a masker lacks or what is wrong with it; never essential, as others can take its place.

    Args:
        name: Registered masker.
        samples: Those that it shall mask; empty if they do not exist yet.
    """
    from robench.engine.masks import load_masker, refuse_without_masks
    from robench.masking.weights import find_weights

    try:
        found = load_masker(name)
        if hasattr(found, "network"):
            find_weights(found.network)
        refuse_without_masks(found, samples)
    except RobenchError as error:
        return [Missing(error.what, error.hint or f"robench show masker {name}", False)]
    return []


def encoder(text: str) -> list[Missing]:
    """Open an encoder, and return what it lacks.

    Args:
        text: ``NAME`` or ``NAME:FOLDER``.

    Raises:
        UsageError: If its weights are there and do not fit.
    """
    name = split_name(text)[0]
    try:
        open_encoder(text, "cpu").encoder.close()
    except EnvironmentNotReady as error:
        named = f"robench reproduce 2d-priors --encoder {name}:FOLDER"
        return [Missing(error.what, f"{error.hint}, or {named}" if error.hint else named)]
    return []
