"""Metrics: how far a predicted mesh or mask is from the truth. Finite numbers, or a reason why there is none."""

from __future__ import annotations
