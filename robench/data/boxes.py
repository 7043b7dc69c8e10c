"""Person boxes that lie beside pictures: ``boxes.json``."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Final

from robench.contracts import Box
from robench.errors import UsageError
from robench.io.files import read_json

BOXES: Final = "boxes.json"
_LARGEST = 65_536


def read_boxes(root: Path) -> dict[str, Box]:
    """Read the ``boxes.json`` of a folder of pictures: ``{"<picture name>": [x, y, width, height], ...}``.

    Args:
        root: The folder.

    Returns:
        Picture name without suffix (``x``, ``monday/x``) → box in pixels; empty where there is no such file.

    Raises:
        UsageError: If the file is no such table, or a box is none, is less than 2 pixels wide or high, or larger than
            any picture.
    """
    path = root / BOXES
    if not path.is_file():
        return {}
    data, expected = read_json(path), '{"<picture name>": [x, y, width, height], ...} in pixels'
    if not isinstance(data, dict):
        raise UsageError(f"{path} is not a table of person boxes", got=type(data).__name__, expected=expected)
    found = {}
    for name, values in data.items():
        try:
            box = Box.from_json(values)
        except ValueError as error:
            raise UsageError(f"The person box of '{name}' in {path} is wrong", got=str(error)) from error
        if min(box.width, box.height) < 2 or max(map(abs, box.to_json())) > _LARGEST:
            raise UsageError(
                f"The person box of '{name}' in {path} is wrong",
                got=str(box.to_json()),
                expected=f"a width and height of at least 2, and no number beyond {_LARGEST}",
            )
        found[unicodedata.normalize("NFC", name)] = box
    return found
