"""A small run on disk, and rows made from a plain table of numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from robench.contracts import Camera, Mesh
from robench.io.files import write_json_atomic
from robench.io.images import write_mask, write_png
from robench.io.meshes import write_mesh


def rows_of(subjects: int = 4, model: str = "toy", scale: float = 1.0, **columns: Any) -> pd.DataFrame:
    """Clean, fog at severities 1 and 3, and a roll that also has unaligned numbers; one failure in fog 3."""
    rng = np.random.default_rng(subjects)
    base = scale * rng.lognormal(0, 0.2, subjects)
    factors = {
        ("clean", 0): 1.0,
        ("fog_3d", 1): 1.2,
        ("fog_3d", 3): 2.0,
        ("camera_roll", 1): 1.5,
        ("camera_roll", 3): 3.0,
    }
    records = []
    for (corruption, severity), factor in factors.items():
        far = 5.0 if corruption == "camera_roll" else 1.0
        for index, error in enumerate(base):
            values = {
                "chamfer_cm": error * factor,
                "p2s_pred_to_gt_cm": 0.9 * error * factor,
                "chamfer_unaligned_cm": error * factor * far,
                "mask_iou": 0.98 / factor,
            }
            for metric, value in values.items():
                failed = (corruption, severity, index) == ("fog_3d", 3, 0) and metric != "mask_iou"
                records.append(
                    {
                        "run_id": f"{model}@12345678-aaaaaaaa-bbbbbbbb",
                        "sample_id": f"s{index}_0",
                        "subject_id": f"s{index}",
                        "view_id": "0",
                        "corruption": corruption,
                        "severity": severity,
                        "masker": "given",
                        "metric": metric,
                        "value": np.nan if failed else value,
                        "unit": "1" if metric == "mask_iou" else "cm",
                        "direction": "higher" if metric == "mask_iou" else "lower",
                        "status": "failed" if failed else "ok",
                        "failure_value": 9.0 if failed else np.nan,
                        "message": "boom" if failed else "",
                        "model": model,
                        "checkpoint_sha256": "ab" * 32,
                        "dataset": "toys",
                        "cset_id": "cd" * 32,
                        **columns,
                    }
                )
    return pd.DataFrame(records)


@pytest.fixture(scope="session")
def toy_rows() -> Callable[..., pd.DataFrame]:
    return rows_of


def ball(radius: float, centre: tuple[float, float, float] = (0.0, 0.0, 0.0), fine: int = 24) -> Mesh:
    """A closed sphere."""
    polar, around = np.linspace(0, np.pi, fine), np.linspace(0, 2 * np.pi, 2 * fine, endpoint=False)
    grid = np.stack(
        [
            np.sin(polar)[:, None] * np.cos(around),
            np.broadcast_to(np.cos(polar)[:, None], (fine, 2 * fine)),
            np.sin(polar)[:, None] * np.sin(around),
        ],
        axis=-1,
    )
    index = np.arange(fine * 2 * fine).reshape(fine, 2 * fine)
    a, b = index[:-1], index[1:]
    c, d = np.roll(a, -1, axis=1), np.roll(b, -1, axis=1)
    faces = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([c, d, b], -1).reshape(-1, 3)])
    vertices = radius * grid.reshape(-1, 3) + np.asarray(centre)
    return Mesh(vertices.astype(np.float32), faces.astype(np.int32))


@pytest.fixture(scope="session")
def toy_ball() -> Callable[..., Mesh]:
    return ball


@pytest.fixture(scope="session")
def toy_camera() -> Camera:
    return Camera(np.eye(4), scale=1.0, centre=(63.5, 63.5), width=128, height=128)


@pytest.fixture
def toy_run(tmp_path: Path, toy_camera: Camera) -> Path:
    """A run folder as `robench evaluate` leaves it: rows, run.json, examples of one sample."""
    run = tmp_path / "toy@12345678-aaaaaaaa-bbbbbbbb"
    (run / "rows").mkdir(parents=True)
    rows_of().to_parquet(run / "rows" / "part-0000.parquet")
    write_json_atomic(
        run / "run.json", {"state": "complete", "dataset": {"name": "folder", "root": str(tmp_path / "gone")}}
    )
    image = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    mask = np.zeros((128, 128), np.float32)
    mask[20:110, 40:90] = 1
    for corruption, severity, failed in (("clean", 0, False), ("fog_3d", 1, False), ("fog_3d", 3, True)):
        place = f"{corruption}/{severity}/s0_0"
        write_png(run / f"examples/{place}.png", image)
        write_mask(run / f"examples/{place}_mask.png", mask)
        if not failed:
            write_mesh(run / f"meshes/{place}.ply.gz", ball(40.0))
        about = {
            "sample_id": "s0_0",
            "corruption": corruption,
            "severity": severity,
            "status": "no_detection" if failed else "ok",
            "image": f"examples/{place}.png",
            "mask": f"examples/{place}_mask.png",
            "mesh": None if failed else f"meshes/{place}.ply.gz",
            "camera": toy_camera.to_json(),
        }
        write_json_atomic(run / f"examples/{place}.json", about)
    return run
