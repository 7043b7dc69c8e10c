"""Damaged streams."""

from itertools import pairwise

import numpy as np
import pytest
from corruption_pictures import corrupt, person, psnr

from corruptions import Aux, _video, load
from corruptions.bit_error import GREY, HEADER, BitError, damage, damageable, error_count

SHAPE = (128, 160)


@pytest.fixture(scope="module")
def packets():
    return _video.h264_stream(person(*SHAPE)[0], slices=8)


def _changed(before, after):
    a, b = (np.frombuffer(b"".join(p), np.uint8) for p in (before, after))
    return set(np.flatnonzero(a != b).tolist())


@pytest.mark.parametrize("errors", [0, 1, 2, 7, 50])
def test_exactly_the_requested_bytes_change(packets, errors):
    sent = damage(packets, errors, np.random.default_rng(0))
    assert len(_changed(packets, sent)) == errors
    assert [len(p) for p in sent] == [len(p) for p in packets]


def test_errors_are_nested(packets):
    sets = [_changed(packets, damage(packets, n, np.random.default_rng(5))) for n in range(12)]
    assert all(a < b for a, b in pairwise(sets))


def test_values_do_not_depend_on_the_number_of_errors(packets):
    few, many = (b"".join(damage(packets, n, np.random.default_rng(5))) for n in (3, 9))
    original = b"".join(packets)
    for at in _changed([original], [few]):
        assert few[at] == many[at]


def test_no_damage_is_the_codec_alone(packets):
    image = person(*SHAPE)[0]
    clean = _video.decode("h264", packets, SHAPE)
    assert np.array_equal(_video.decode("h264", damage(packets, 0, np.random.default_rng(0)), SHAPE), clean)
    params = BitError().sample(1, SHAPE, np.random.default_rng(0)) | {"least_errors": 0}
    assert np.array_equal(BitError().apply(image, params, None).image, clean)


def test_headers_are_protected(packets):
    stream = b"".join(packets)
    positions = set(damageable(stream).tolist())
    units = _video.units(stream)
    assert sum(kind in (1, 5) for _, _, kind in units) >= 8
    for start, end, kind in units:
        inside = positions & set(range(start - 3, end))
        if kind in (1, 5):
            assert all(at >= start + HEADER for at in inside)
        else:
            assert not inside
    damaged = b"".join(damage(packets, 10**9, np.random.default_rng(1)))
    assert [(s, k) for s, _, k in _video.units(damaged)] == [(s, k) for s, _, k in units]
    assert len(_changed([stream], [damaged])) == len(positions)


def test_decoding_never_raises_and_always_gives_a_full_frame(packets):
    image, _, _ = person(*SHAPE)
    for seed in range(30):
        frame = _video.decode("h264", damage(packets, 1 + 4 * seed, np.random.default_rng(seed)), SHAPE)
        assert frame is not None
        assert frame.shape == image.shape


def test_garbage_is_survived(packets, monkeypatch):
    rng = np.random.default_rng(0)
    assert _video.decode("h264", [rng.bytes(4000)], SHAPE) is None
    assert _video.decode("h264", [b"", b"\0\0\1"], SHAPE) is None
    assert _video.decode("h264", packets, (64, 64)) is None
    assert _video.decode("h264", [packets[0][:200], *packets[1:]], SHAPE) is not None
    # A stream of which nothing is left gives a grey picture, and says so.
    monkeypatch.setattr(_video, "decode", lambda *_: None)
    result = corrupt("bit_error", 5, person(*SHAPE)[0], None)
    assert result.notes["lost"] is True
    assert (result.image == GREY).all()


def test_same_seed_same_frame():
    image, _, _ = person(*SHAPE)
    results = [corrupt("bit_error", 4, image, None, seed=9) for _ in range(3)]
    assert len({r.image.tobytes() for r in results}) == 1


def test_error_count_follows_the_stream():
    assert error_count(163_000, 10_000, 5) == 16
    assert error_count(20_000, 10_000, 5) == 5
    table = load("bit_error").card.extra["severities"]
    for size in (500, 40_000, 300_000, 5_000_000):
        counts = [
            error_count(size, **row)
            for row in (
                {"bytes_per_error": t["bytes_per_error"], "least_errors": t["least_errors"]} for t in table.values()
            )
        ]
        assert (np.diff(counts) > 0).all()
    image, _, _ = person(*SHAPE)
    notes = corrupt("bit_error", 5, image, None).notes
    assert notes["errors"] == error_count(notes["bytes"], 10_000, 5)
    assert notes["lost"] is False


def test_damage_stays_in_bands():
    """With eight slices, one error spoils at most one of them."""
    image, _, _ = person(256, 64)
    clean = _video.decode("h264", _video.h264_stream(image, 8), (256, 64))
    for seed in range(8):
        params = BitError().sample(1, (256, 64), np.random.default_rng(seed))
        damaged = BitError().apply(image, params, Aux()).image
        rows = np.flatnonzero((damaged != clean).any(axis=(1, 2)))
        # 2 macroblock rows a slice, and the deblocking and chroma filters reach a few rows beyond.
        assert len(rows) == 0 or rows[-1] - rows[0] < 32 + 16


def test_published_filter_is_an_option():
    image, _, _ = person(*SHAPE)
    published = BitError(mode="filter", slices=1)
    params = published.sample(5, SHAPE, np.random.default_rng(0)) | {"bytes_per_error": 1000}
    one, two = (published.apply(image, params, None) for _ in range(2))
    assert one.image.shape == image.shape
    assert np.array_equal(one.image, two.image)
    assert one.notes["errors"] == pytest.approx(one.notes["bytes"] / 1000, abs=12)
    assert psnr(one.image, image) < 45


def test_published_filter_overwrites_by_its_running_sum():
    """state += byte + 1; where a multiple of the amount is reached, the byte becomes the state's low byte."""
    packets = _video.h264_stream(person(*SHAPE)[0])
    state, expected = 0, []
    for packet in packets:
        data = bytearray(packet)
        for i, value in enumerate(data):
            state = (state + value + 1) % 2**32
            if state % 700 == 0:
                data[i] = state % 256
        expected.append(bytes(data))
    assert _video.filtered(packets, 700) == expected


def test_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="'nested' or 'filter'"):
        BitError(mode="lottery")
