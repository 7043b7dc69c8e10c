"""Make a trained ``u2netp-anny`` the one that robench ships, and measure it as shipped.

``python -m baselines.u2netp.publish --run DIR --data DIR [--photos DIR --sheet FILE.png]`` copies the ONNX file and its
record into robench's folder of weights, runs the masker exactly as a user does on the clean test views, writes the
scores into the record, and draws a sheet of pictures with their masks, to be looked at before the card is written.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

import robench
from baselines.u2netp.train import NAME
from robench.contracts import Image, Mask, Masker, Sample
from robench.data.discover import open_dataset
from robench.errors import RobenchError, UsageError
from robench.io.files import atomic_path, read_json, write_json_atomic
from robench.io.images import SUFFIXES, read_image, read_mask, write_png
from robench.registry import load

SHIPPED = Path(robench.__file__).parent / "masking" / "weights"


def intersection_over_union(found: Mask, true: Mask) -> float:
    """Return the IoU of two (H, W) masks at threshold one half; two blank masks agree: 1."""
    a, b = found >= 0.5, true >= 0.5
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def score(masker: Masker, samples: Sequence[Sample]) -> dict[str, Any]:
    """Run an opened masker on clean views and compare with their true masks.

    Returns:
        Number of views, mean, 5th percentile and minimum of the IoU, how many masks were blank, and the worst view.
    """
    values, blank = [], 0
    for sample in samples:
        assert sample.mask is not None
        image = read_image(sample.image)
        found = masker.mask(image)
        blank += int(found.max() == 0)
        values.append(intersection_over_union(found, read_mask(sample.mask, image.shape[:2])))
    return {
        "views": len(values),
        "iou_mean": round(float(np.mean(values)), 4),
        "iou_p05": round(float(np.percentile(values, 5)), 4),
        "iou_min": round(float(np.min(values)), 4),
        "blank": blank,
        "worst": samples[int(np.argmin(values))].sample_id,
    }


def sheet(masker: Masker, pictures: Sequence[Path], *, side: int = 256, columns: int = 4) -> NDArray[np.uint8]:
    """Draw pictures beside their masks, and what is kept on green.

    Args:
        masker: Opened.
        pictures: Files.
        side: Edge of a tile in pixels; pictures keep their aspect.
        columns: Pictures in a row; each takes two tiles.

    Returns:
        (rows * side, 2 * columns * side, 3) uint8 sRGB.
    """
    rows = -(-len(pictures) // columns)
    canvas = np.full((rows * side, columns * 2 * side, 3), 255, np.uint8)
    for i, path in enumerate(pictures):
        image = read_image(path)
        mask = masker.mask(image)[..., None]
        kept = (image * mask + np.array([0, 170, 0]) * (1 - mask)).astype(np.uint8)
        for j, tile in enumerate((image, kept)):
            small = _fitted(tile, side)
            y, x = (i // columns) * side, ((i % columns) * 2 + j) * side
            canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
    return canvas


def _fitted(image: Image, side: int) -> Image:
    """Shrink or enlarge a picture so that its longer edge is `side`."""
    import cv2

    k = side / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * k)), max(1, round(image.shape[0] * k)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def install(run: Path, into: Path) -> Path:
    """Copy a finished training's ONNX file and record into the folder of weights; return the record's path.

    Raises:
        UsageError: If the training is not finished.
    """
    for suffix in (".onnx", ".json"):
        source = run / f"{NAME}{suffix}"
        if not source.is_file():
            raise UsageError(
                f"There is no {source}",
                expected="a finished training",
                hint=f"python -m baselines.u2netp.train --out {run}",
            )
        with atomic_path(into / source.name) as temporary:
            shutil.copyfile(source, temporary)
    return into / f"{NAME}.json"


def main(
    data: Annotated[Path, typer.Option(help="Data set whose clean views are scored.")],
    run: Annotated[
        Path | None, typer.Option(help="Folder of a finished training; without it, score what is shipped.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split to score.")] = "test",
    photos: Annotated[Path | None, typer.Option(help="Folder of photographs for the sheet.")] = None,
    sheet_file: Annotated[Path | None, typer.Option("--sheet", help="Where to write the sheet (PNG).")] = None,
) -> None:
    """Install trained weights in robench, score them as shipped, and draw a sheet of photographs."""
    try:
        record_path = install(run, SHIPPED) if run is not None else SHIPPED / f"{NAME}.json"
        masker = load("maskers", NAME)
        masker.open("cpu")
        samples = [s for s in open_dataset(data).dataset.samples(data, split) if s.mask is not None]
        if not samples:
            raise UsageError(f"The split '{split}' of {data} has no view with a mask")
        result = score(masker, samples)
        record = read_json(record_path)
        record[f"clean_{split}"] = result
        write_json_atomic(record_path, record)
        if photos is not None and sheet_file is not None:
            pictures = sorted(p for p in photos.iterdir() if p.suffix.lower() in SUFFIXES)
            write_png(sheet_file, sheet(masker, pictures))
    except RobenchError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(int(error.exit_code)) from error
    typer.echo(json.dumps(result, indent=2))


if __name__ == "__main__":
    typer.run(main)
