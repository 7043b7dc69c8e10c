"""The encoder that a command names, open: ``NAME`` or ``NAME:FOLDER``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robench import registry
from robench.contracts import Encoder, OpenReport
from robench.errors import UsageError


@dataclass(frozen=True, eq=False)
class OpenEncoder:
    """An encoder that is open.

    Attributes:
        encoder: The encoder.
        report: What it said of its weights.
    """

    encoder: Encoder
    report: OpenReport

    def identity(self) -> dict[str, Any]:
        """Return what its vectors depend on beside the picture."""
        card = self.encoder.card
        return {"name": card.name, "version": card.version, "weights_sha256": self.report.checkpoint_sha256}


def split_name(text: str) -> tuple[str, Path | None]:
    """Read ``NAME`` or ``NAME:FOLDER``.

    Raises:
        UsageError: If there is a colon and nothing on one side of it.
    """
    name, colon, folder = text.partition(":")
    if not name or (colon and not folder):
        raise UsageError("The encoder is not understood", got=f"'{text}'", expected="NAME or NAME:FOLDER")
    return name, Path(folder).expanduser() if colon else None


def open_encoder(text: str, device: str) -> OpenEncoder:
    """Load and open an encoder.

    Args:
        text: ``NAME``, or ``NAME:FOLDER`` with the file or folder of its weights.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.

    Raises:
        UsageError: If there is no such encoder, or the weights do not fit; every key at fault is named.
        EnvironmentNotReady: If weights, library or device are not there.
    """
    name, folder = split_name(text)
    encoder = registry.load("encoders", name)
    return OpenEncoder(encoder, encoder.open(device, folder))
