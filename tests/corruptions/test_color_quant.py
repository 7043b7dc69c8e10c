"""Few bits a channel."""

import numpy as np
import pytest
from corruption_pictures import corrupt, texture

from corruptions.color_quant import quantise

RAMP = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(32, axis=0)


@pytest.mark.parametrize("severity", range(1, 6))
def test_levels_error_and_order(severity):
    bits = 6 - severity
    result = corrupt("color_quant", severity, RAMP, None).image
    expected = np.array([v // 2 ** (8 - bits) * 2 ** (8 - bits) for v in range(256)])
    assert np.array_equal(result[0, :, 0], expected)
    assert len(np.unique(result)) == 2**bits
    error = RAMP.astype(int) - result
    assert error.min() == 0
    assert error.max() < 2 ** (8 - bits)
    assert (np.diff(result[0, :, 0].astype(int)) >= 0).all()


def test_idempotent_and_nested():
    image = texture(64, 64)
    for bits in range(1, 9):
        once = quantise(image, bits)
        assert np.array_equal(quantise(once, bits), once)
        if bits < 8:
            assert np.array_equal(quantise(quantise(image, bits + 1), bits), once)
    assert np.array_equal(quantise(image, 8), image)


@pytest.mark.parametrize("bits", [0, 9, -1])
def test_impossible_bits_are_refused(bits):
    with pytest.raises(ValueError, match="1 to 8 bits"):
        quantise(RAMP, bits)
