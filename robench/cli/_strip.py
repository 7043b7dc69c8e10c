"""The strip of ``robench show corruption NAME --strip``: one picture, clean and at every severity."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from robench.errors import RobenchError, UsageError

SIDE = 512


def write_strip(name: str, path: Path, on: Path | None) -> str:
    """Write the strip and return one sentence about what it shows.

    Args:
        name: Registered corruption.
        path: A PNG.
        on: A picture, with whatever lies beside it (mask, depth); None for a drawn figure before a wall.

    Raises:
        UsageError: If the picture cannot be read, lacks what the corruption needs, or the strip cannot be written.
    """
    from robench.cli._work import write_picture
    from robench.contracts import Sample
    from robench.data._tree import beside
    from robench.data.depth_sources import choose_depth
    from robench.engine.inputs import Inputs
    from robench.reporting.contact_sheet import contact_sheet

    if path.suffix.lower() != ".png":
        raise UsageError(f"A strip is written as PNG, not as '{path.name}'", expected="a name that ends in .png")
    with tempfile.TemporaryDirectory() as folder:
        picture = on if on is not None else drawn(Path(folder))
        found = beside(picture)
        sample = Sample(picture.stem, picture.stem, 0.0, picture, found.get("mask"), found.get("depth"))
        inputs = Inputs(sample, choose_depth("given,plane"))
        pictures, source = _made(name, inputs)
    title = f"{name} on {'a drawn figure' if on is None else picture.name}"
    told = {"plane": ", depth: a plane at 3 m", "given": ", depth: as given"}.get(source, "") if on is not None else ""
    write_picture(path, contact_sheet(pictures, title + told))
    return f"{path}: {title}{told}"


def _made(name: str, inputs: Any) -> tuple[dict[tuple[str, int], Any], str]:
    from robench import registry
    from robench.engine.cells import corrupt
    from robench.engine.recipes import CLEAN, SEVERITIES

    corruption = registry.load("corruptions", name)
    missing = [need for need in sorted(corruption.card.needs - {"depth"}) if getattr(inputs.sample, need, None) is None]
    if missing:
        raise UsageError(
            f"'{name}' needs {missing[0]}, which this picture does not have", hint="--on a picture with it"
        )
    try:
        pictures = {(CLEAN, 0): inputs.image}
        for severity in SEVERITIES:
            pictures[name, severity] = corrupt(inputs, corruption, severity, 0).image
    except RobenchError as error:
        raise UsageError(f"The strip cannot be made: {error.what}") from error
    needs_depth = "depth" in corruption.card.needs
    return pictures, inputs.depth_map.source if needs_depth and inputs.depth_map is not None else ""


def drawn(folder: Path) -> Path:
    """Draw a person of capsules before a wall, with mask and depth beside, and return the picture's path.

    The person stands 3 m from the camera, the wall 6 m; the floor runs from one to the other.
    """
    import numpy as np

    from robench.cli._checks import canary_request
    from robench.io.depth import write_depth
    from robench.io.images import write_mask, write_png

    request = canary_request()
    v, u = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    horizon = 0.72 * SIDE
    far = np.clip((v - horizon) / (SIDE - horizon), 0, 1)
    distance = 1 / (1 / 6 + far * (1 / 2.8 - 1 / 6))
    tiles = (np.floor((u - SIDE / 2) * distance / 180) + np.floor(distance * 3)) % 2
    wall = np.stack([206 - 0.10 * v, 198 - 0.08 * v, 184 - 0.05 * v], -1)
    wall[(u % 128 < 3) | (v % 96 < 3)] -= 26
    floor = np.stack([150 + 30 * tiles, 122 + 26 * tiles, 92 + 22 * tiles], -1)
    scene = np.where((v >= horizon)[..., None], floor, wall)
    person = request.mask > 0.5
    scene[person] = request.image[person]
    picture = folder / "figure.png"
    write_png(picture, np.rint(scene).astype(np.uint8))
    write_mask(folder / "figure_mask.png", request.mask)
    write_depth(folder / "figure_depth.npz", np.where(person, 3.0, distance))
    return picture
