"""Pixels that must not change unless a version goes up.

The codec hashes belong to the encoders of the pinned ``av`` wheel; a new wheel may change them (the properties in the
other files hold for any). To renew some after a deliberate change, or all:
``python tests/corruptions/test_corruption_goldens.py [NAME...]``.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest
from corruption_pictures import ALL, corrupt, person

from corruptions import load

FILE = Path(__file__).with_name("corruption_goldens.json")


def _measured(name: str) -> dict[str, str]:
    image, depth, _ = person(96, 128, seed=11)
    return {
        "version": load(name).card.version,
        **{
            str(s): hashlib.sha256(corrupt(name, s, image, depth, seed=5).image.tobytes()).hexdigest()
            for s in range(1, 6)
        },
    }


def test_source_picture_is_the_one_that_was_hashed():
    image, depth, _ = person(96, 128, seed=11)
    source = hashlib.sha256(image.tobytes() + depth.tobytes()).hexdigest()
    assert source == json.loads(FILE.read_text())["source"]


@pytest.mark.parametrize("name", ALL)
def test_pixels_are_those_of_the_version(name):
    assert _measured(name) == json.loads(FILE.read_text())[name]


if __name__ == "__main__":
    picture, behind, _ = person(96, 128, seed=11)
    source = hashlib.sha256(picture.tobytes() + behind.tobytes()).hexdigest()
    kept = {n: v for n, v in json.loads(FILE.read_text()).items() if n in ALL}
    made = {n: _measured(n) for n in sys.argv[1:] or ALL}
    FILE.write_text(json.dumps({"source": source, **dict(sorted((kept | made).items()))}, indent=1) + "\n")
    sys.stdout.write(f"wrote {FILE}\n")
