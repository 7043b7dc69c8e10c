"""Who a run is: a hash of everything that its rows depend on, and nothing else (no time, no device, no path)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robench.contracts import CardLike, Masker, Metric, OpenReport, Reconstructor
from robench.data.ids import safe_id
from robench.engine.masks import FROM_TRUTH, masker_identity, source_of
from robench.engine.model_options import option_values
from robench.io.files import json_text, sha256_bytes
from robench.schema import SCHEMA_VERSION

FRAME = "view"
"""Both meshes are compared in the view frame of the picture as corrupted."""


@dataclass(frozen=True)
class Identity:
    """What names a run.

    Attributes:
        model: Name of the reconstructor.
        adapter_version: Version of its adapter.
        checkpoint_sha256: Hash of its weights.
        cset_id: Hash of the pictures.
        protocol: What is measured and how; see `protocol_of`.
        threads: Of the model on CPU. Another number may change last digits: it is another run, which may be compared.
    """

    model: str
    adapter_version: str
    checkpoint_sha256: str
    cset_id: str
    protocol: Mapping[str, Any]
    threads: int = 1

    @property
    def protocol_sha256(self) -> str:
        """Hash of the protocol: runs with the same one measured the same thing in the same way."""
        return sha256_bytes(json_text(dict(self.protocol)).encode())

    @property
    def run_id(self) -> str:
        """``<model>@<ckpt8>-<cset8>-<protocol8>``; the first eight also hold the adapter's version and the threads."""
        threads = f"|{self.threads} threads" if self.threads > 1 else ""
        weights = sha256_bytes(f"{self.adapter_version}|{self.checkpoint_sha256}{threads}".encode())
        return f"{safe_id(self.model)}@{weights[:8]}-{self.cset_id[:8]}-{self.protocol_sha256[:8]}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values for ``run.json``."""
        return {
            "model": self.model,
            "adapter_version": self.adapter_version,
            "checkpoint_sha256": self.checkpoint_sha256,
            "cset_id": self.cset_id,
            "protocol": dict(self.protocol),
            "protocol_sha256": self.protocol_sha256,
            "threads": self.threads,
        }


def identity_of(
    model: Reconstructor,
    report: OpenReport,
    cset_id: str,
    metrics: Sequence[Metric],
    masker: Masker,
    penalty: Mapping[str, str],
    threads: int = 1,
) -> Identity:
    """Return the identity of a run of an open model."""
    protocol = protocol_of(metrics, masker, option_values(model), penalty)
    return Identity(model.card.name, model.card.version, report.checkpoint_sha256, cset_id, protocol, threads)


def protocol_of(
    metrics: Sequence[Metric], masker: Masker, model_options: Mapping[str, Any], penalty: Mapping[str, str]
) -> dict[str, Any]:
    """Return what is measured and how: metrics, frame, masks, the model's options, and what a failure is given."""
    return {
        "schema_version": SCHEMA_VERSION,
        "frame": FRAME,
        "metrics": sorted((metric_facts(metric.card) for metric in metrics), key=lambda m: str(m["name"])),
        "masker": masker_identity(masker),
        "model_options": dict(model_options),
        "penalty": dict(penalty),
    }


def metric_facts(card: CardLike) -> dict[str, Any]:
    """Return what two values of a metric must share to be compared."""
    extra = card.extra
    return {
        "name": card.name,
        "version": card.version,
        "unit": extra.get("unit", "1"),
        "direction": extra.get("direction", "lower"),
        "n_points": extra.get("n_points"),
        "seed": extra.get("seed"),
        "alignment": extra.get("alignment", "none"),
    }


def track_of(masker: Masker) -> str:
    """Return the track: ``given-mask`` where the model is told where the person is, else ``image-only``."""
    return "given-mask" if source_of(masker) in FROM_TRUTH else "image-only"


def card_json(card: CardLike) -> dict[str, Any]:
    """Return a card as plain values for ``run.json``."""
    return {
        "name": card.name,
        "version": card.version,
        "summary": card.summary,
        "licence": card.licence,
        "reference": card.reference,
        "needs": sorted(card.needs),
        "extra": plain(card.extra),
    }


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it; what it cannot becomes text."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted(str(v) for v in value)
    return value if isinstance(value, str | int | bool | None) or _is_finite(value) else str(value)


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and abs(value) < float("inf")
