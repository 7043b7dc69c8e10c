"""Runs that kept pictures and meshes, with ground truth, and the page of two of them; a browser where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robench.contracts import Camera, Mesh
from robench.io.files import write_json_atomic
from robench.io.images import write_mask, write_png
from robench.io.meshes import write_mesh
from robench.reporting import examples
from robench.reporting.html import pictures
from robench.reporting.report import write_report

ATTACK = "<b>a</b><a href=https://example.org>b</a><img src=x onerror=alert(1)>"
KEPT = [("clean", 0), ("fog_3d", 1), ("fog_3d", 3), ("camera_roll", 1), ("camera_roll", 3)]


@pytest.fixture(scope="session", autouse=True)
def _small_pictures() -> Iterator[None]:
    """Rendering takes most of a page's time, and a test looks at its pictures' presence, not at their detail."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "HEIGHT", 64)
        yield


@pytest.fixture(scope="session")
def kept_run(toy_rows: Any, toy_ball: Any, toy_camera: Camera) -> Callable[..., Path]:
    """A function that writes a run of a model with examples of two samples; fog 3 of the first failed."""

    def write(folder: Path, model: str, radius: float, scale: float = 1.0) -> Path:
        rows = toy_rows(model=model, scale=scale)
        (folder / "rows").mkdir(parents=True)
        rows.to_parquet(folder / "rows" / "part-0000.parquet")
        record = {"state": "complete", "model": model, "dataset": {"name": "folder", "root": "/secret/place"}}
        write_json_atomic(folder / "run.json", record)
        mask = np.zeros((128, 128), np.float32)
        mask[20:110, 40:90] = 1
        for number, (corruption, severity) in enumerate(KEPT):
            for sample in ("s0_0", "s1_0"):
                image = np.full((128, 128, 3), 40 * number + 10, np.uint8)
                failed = (corruption, severity, sample) == ("fog_3d", 3, "s0_0")
                place = f"{corruption}/{severity}/{sample}"
                write_png(folder / f"examples/{place}.png", image)
                write_mask(folder / f"examples/{place}_mask.png", mask)
                if not failed:
                    write_mesh(folder / f"meshes/{place}.ply.gz", toy_ball(radius, (4.0, 0.0, 0.0)))
                about = {
                    "sample_id": sample,
                    "corruption": corruption,
                    "severity": severity,
                    "status": "no_detection" if failed else "ok",
                    "message": "<b>no</b> person" if failed else "",
                    "image": f"examples/{place}.png",
                    "mask": f"examples/{place}_mask.png",
                    "mesh": None if failed else f"meshes/{place}.ply.gz",
                    "camera": toy_camera.to_json(),
                }
                write_json_atomic(folder / f"examples/{place}.json", about)
        return folder

    return write


@pytest.fixture(scope="session")
def true_balls(toy_ball: Any) -> Callable[[Path, set[str]], dict[str, Mesh]]:
    """Stands for the data set: the truth of every sample is a ball of 40 cm."""
    return lambda run, names: {name: toy_ball(40.0) for name in names}


@pytest.fixture(scope="session")
def page_file(tmp_path_factory: pytest.TempPathFactory, kept_run: Any, true_balls: Any) -> Path:
    """The page of two runs, one with a name that is an attack."""
    folder = tmp_path_factory.mktemp("page")
    runs = [kept_run(folder / "one", "toy", 38.0), kept_run(folder / "two", ATTACK, 30.0, 2.0)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "truth_meshes", true_balls)
        report = write_report(runs, folder / "report", ["html"])
    assert report.files == [folder / "report" / "report.html"]
    return report.files[0]
