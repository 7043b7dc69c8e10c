"""Names for people: corruptions, metrics and numbers as a paper prints them."""

from __future__ import annotations

import math
import re

MISSING = "–"
"""Stands where there is no number; a missing number is never 0."""

_METRICS = {
    "chamfer_cm": ("Chamfer", "Chamfer distance"),
    "chamfer_similarity_cm": ("Chamfer, fitted", "Chamfer distance after a similarity fit"),
    "p2s_pred_to_gt_cm": ("P2S", "P2S, prediction to truth"),
    "p2s_gt_to_pred_cm": ("P2S (truth to prediction)", "P2S, truth to prediction"),
    "fscore_1cm": ("F-score 1 cm", "F-score at 1 cm"),
    "iou_3d": ("IoU 3D", "Volumetric IoU"),
    "mask_iou": ("mask IoU", "Mask IoU"),
    "normal_error": ("Normals", "Normal error"),
}
_WORDS = {
    "2d": "2D",
    "3d": "3D",
    "h265": "H.265",
    "abr": "ABR",
    "crf": "CRF",
    "iso": "ISO",
    "jpeg": "JPEG",
    "webp": "WebP",
    "avif": "AVIF",
    "xy": "XY",
    "quant": "quantisation",
}
_UNITS = {"cm": "cm", "deg": "°", "1": ""}


def corruption_label(name: str) -> str:
    """Return ``H.265 CRF`` for ``h265_crf``, ``Camera roll (unaligned)`` for ``camera_roll (unaligned)``.

    A chain without a name of its own is ``Fog 3D 2 + ISO noise 3`` for ``fog_3d-2--iso_noise-3``.
    """
    return " + ".join(_part_label(part) for part in name.split("--"))


def _part_label(name: str) -> str:
    words = [_WORDS.get(word, word) for word in re.split(r"[-_ ]+", name) if word]
    text = " ".join("colour" if word == "color" else word for word in words)
    return text[:1].upper() + text[1:]


def metric_label(name: str, *, long: bool = False) -> str:
    """Return a metric's short or long name without its unit."""
    known = _METRICS.get(name)
    return known[long] if known else name.replace("_", " ")


def unit_label(unit: str) -> str:
    """Return a unit as printed after a number; empty for numbers without one."""
    return _UNITS.get(unit, unit)


def number(value: float, digits: int = 2, *, sign: bool = False) -> str:
    """Return a number with fixed digits and a true minus sign, or `MISSING`."""
    if not math.isfinite(value):
        return MISSING
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def interval(lo: float, hi: float, digits: int = 2) -> str:
    """Return ``[lo, hi]``, or an empty string where there is no interval."""
    if not (math.isfinite(lo) and math.isfinite(hi)):
        return ""
    return f"[{number(lo, digits)}, {number(hi, digits)}]"


def failures(count: int, total: int) -> str:
    """Return ``3/120 (2.5 %)``, or ``0`` if nothing failed."""
    return f"{count}/{total} ({100 * count / total:.1f} %)" if count else "0"
