"""What the nineteen share: where they come from, and the size of picture for which their lengths were published.

The pictures of the released ImageNet-C were also compressed (JPEG, quality 85) after each corruption; ours are not.
"""

from __future__ import annotations

PAPER = (
    "Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, "
    "ICLR 2019"
)
SOURCE_WIDTH = 224
"""Pictures of ImageNet-C are this wide: published lengths in pixels belong to this width."""


def length_scale(width: int, scaled: bool) -> float:
    """Return the factor of published lengths in pixels at this image width; 1 where they shall stay as published."""
    return width / SOURCE_WIDTH if scaled else 1.0
