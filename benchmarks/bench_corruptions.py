"""Every corruption against its peers in one run, on one thread: CPU milliseconds a 512x512 picture at severity 3.

Peers: imagecorruptions, albumentations and kornia where they have the same corruption (``benchmarks/requirements.txt``;
what is missing is said in its row), and the formulas of 3DCC restated plainly. CPU time, best of some runs: the work
itself, whatever else the machine does. Targets are milliseconds on an idle core of the machine on which the peers were
first measured; since cores differ, the run also says how much longer fixed pieces of work take here: OpenCV's affine
warp (0.9 ms there) and the common nineteen of imagecorruptions (4406 ms there).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks import _peers
from benchmarks._peers import Absent, Job, Subject, albumentations, imagecorruptions, kornia

SIDE, SEVERITY = 512, 3
WARP_MS = 0.9
COMMON_TARGET_MS, COMMON_PEER_MS = 250.0, 4406.0
COMMON = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
    "speckle_noise",
    "gaussian_blur",
    "spatter",
    "saturate",
)
SPREAD = 1.1
"""Figures of two runs differ by this much; what is nearer is not called slower."""

Ready = Callable[[Subject], Job]


@dataclass(frozen=True)
class Contest:
    """Who is measured against a corruption.

    Attributes:
        peers: Column to peer.
        target_ms: Ours shall need no more; None where only the peers count.
        times: A peer's job is this share of its work (1 / times).
        severity: Ours.
        reason: Why a figure is out of reach, where it is.
    """

    peers: Mapping[str, Ready] = field(default_factory=dict)
    target_ms: float | None = None
    times: float = 1.0
    severity: int = SEVERITY
    reason: str = ""


_VIEWS = 40 / _peers.VIEWS
_MORE: dict[str, dict[str, Ready]] = {
    "gaussian_noise": {
        "albumentations": albumentations("GaussNoise", std_range=(0.18, 0.18), per_channel=True),
        "kornia": kornia("RandomGaussianNoise", mean=0.0, std=0.18),
    },
    "shot_noise": {"albumentations": albumentations("ShotNoise", scale_range=(0.08, 0.08))},
    "impulse_noise": {
        "albumentations": albumentations("SaltAndPepper", amount=(0.09, 0.09)),
        "kornia": kornia("RandomSaltAndPepperNoise", amount=(0.09, 0.09)),
    },
    "speckle_noise": {
        "albumentations": albumentations(
            "MultiplicativeNoise", multiplier=(0.6, 1.4), per_channel=True, elementwise=True
        )
    },
    "defocus_blur": {"albumentations": albumentations("Defocus", radius=(13, 13), alias_blur=(0.5, 0.5))},
    "motion_blur": {
        "albumentations": albumentations("MotionBlur", blur_limit=(69, 69)),
        "kornia": kornia("RandomMotionBlur", 69, 35.0, 0.5),
    },
    "zoom_blur": {"albumentations": albumentations("ZoomBlur", max_factor=(1.2, 1.2), step_factor=(0.02, 0.02))},
    "glass_blur": {"albumentations": albumentations("GlassBlur", sigma=1.0, max_delta=2, iterations=3, mode="exact")},
    "gaussian_blur": {
        "albumentations": albumentations("GaussianBlur", blur_limit=(0, 0), sigma_limit=(6.9, 6.9)),
        "kornia": kornia("RandomGaussianBlur", (41, 41), (6.9, 6.9)),
    },
    "snow": {"kornia": kornia("RandomSnow")},
    "spatter": {"albumentations": albumentations("Spatter", mode="rain")},
    "elastic_transform": {
        "albumentations": albumentations("ElasticTransform", alpha=100.0, sigma=5.0),
        "kornia": kornia("RandomElasticTransform"),
    },
    "jpeg_compression": {
        "albumentations": albumentations("ImageCompression", quality_range=(15, 15)),
        "kornia": kornia("RandomJPEG", jpeg_quality=(15.0, 15.0)),
    },
    "brightness": {
        "albumentations": albumentations(
            "HueSaturationValue", hue_shift_limit=0, sat_shift_limit=0, val_shift_limit=(76, 76)
        ),
    },
    "contrast": {"kornia": kornia("RandomContrast", contrast=(0.2, 0.2))},
    "saturate": {
        "albumentations": albumentations(
            "HueSaturationValue", hue_shift_limit=0, sat_shift_limit=(50, 50), val_shift_limit=0
        ),
        "kornia": kornia("RandomSaturation", saturation=(2.0, 2.0)),
    },
    "pixelate": {
        "albumentations": albumentations(
            "Downscale", scale_range=(0.4, 0.4), interpolation_pair={"downscale": 3, "upscale": 0}
        )
    },
}

_SEARCH = "x265's search for the one key frame is most of it; faster presets or larger blocks cost 0.2 to 1.5 dB"
_ZOOMS = "six views of the whole picture in single precision, at 0.5 ms a view, and their sum"
_WARPS = "some thirty views of the whole picture, every pixel moved by its own depth, at 2.5 ms a view and more"

_REASONS = {
    "frost": "the ice is arranged, softened and lit for every picture; imagecorruptions blends one of five photographs",
    "pixelate": "Pillow's exact means over windows that do not fall on whole pixels, as published",
    "saturate": "a ratio for every pixel, as published; the faster transform adds to a saturation of 8 bits by table",
}

CONTESTS: dict[str, Contest] = {
    "fog_3d": Contest({"formula": _peers.fog_3d}, 1.5),
    "near_focus": Contest({"formula": _peers.focus(near=True)}, 20),
    "far_focus": Contest({"formula": _peers.focus(near=False)}, 20),
    "low_light": Contest({"formula": _peers.low_light}, 12),
    "iso_noise": Contest({"formula": _peers.iso_noise, "albumentations": albumentations("ISONoise")}, 12),
    "color_quant": Contest(
        {
            "formula": _peers.color_quant,
            "albumentations": albumentations("Posterize", num_bits=3),
            "kornia": kornia("RandomPosterize", 3.0),
        },
        0.3,
    ),
    "camera_roll": Contest(
        {
            "formula": _peers.camera_roll,
            "albumentations": albumentations("Rotate", limit=(20, 20)),
            "kornia": kornia("RandomRotation", degrees=(20.0, 20.0)),
        },
        0.9,
    ),
    "zoom_blur_2d": Contest({"formula": _peers.zoom_blur_2d}, 4, severity=2, reason=_ZOOMS),
    "xy_motion_blur": Contest({"formula": _peers.motion(1.0)}, 120, _VIEWS, reason=_WARPS),
    "z_motion_blur": Contest({"formula": _peers.motion(0.55)}, 120, _VIEWS, reason=_WARPS),
    "h265_crf": Contest({"formula": _peers.clip("libx265", "crf=32")}, 100, reason=_SEARCH),
    "h265_abr": Contest(
        {"formula": _peers.clip("libx265", "bitrate=200:vbv-maxrate=200:vbv-bufsize=200")}, 100, reason=_SEARCH
    ),
    "bit_error": Contest({"formula": _peers.clip("libx264", "crf=23")}),
} | {
    name: Contest({"imagecorruptions": imagecorruptions(name), **_MORE.get(name, {})}, reason=_REASONS.get(name, ""))
    for name in COMMON
}

COLUMNS = ("formula", "imagecorruptions", "albumentations", "kornia")


def picture(side: int) -> Subject:
    """Return a textured person-like ellipse at 3 m before a wall at 6 m, with a slope of depth."""
    rng = np.random.default_rng(0)
    import cv2

    noise = cv2.GaussianBlur(rng.normal(0, 1, (side, side, 3)).astype(np.float32), (0, 0), 2)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    person = (x / 0.45) ** 2 + (y / 0.9) ** 2 < 1
    image = 110 + 60 * np.dstack([x, y, -x]) + 180 * noise + 50 * person[..., None]
    depth = np.where(person, 3 + 0.3 * (x**2 + y**2), 6 + y).astype(np.float32)
    return Subject(np.clip(image, 0, 255).astype(np.uint8), depth)


def best_ms(job: Job, budget: float) -> float:
    """Return the least CPU milliseconds of a job: after one run to warm up, as many as a budget in seconds allows."""
    start = time.process_time()
    job()
    first = time.process_time() - start
    if first > budget:
        return first * 1000
    least = float("inf")
    for _ in range(max(2, min(20, int(budget / max(first, 1e-4))))):
        start = time.process_time()
        job()
        least = min(least, time.process_time() - start)
    return least * 1000


def ours(name: str, severity: int, subject: Subject) -> Job:
    """Return the job of one of our corruptions, its parameters drawn."""
    import corruptions

    corruption = corruptions.load(name)
    params = corruption.sample(severity, subject.image.shape[:2], np.random.default_rng(0))
    aux = corruptions.Aux(depth=subject.depth)
    return lambda: corruption.apply(subject.image, params, aux)


def _peer(ready: Ready, subject: Subject, budget: float, times: float) -> float | str:
    try:
        return best_ms(ready(subject), budget / times) * times
    except Absent as absent:
        return str(absent)
    except Exception as error:  # a peer's fault is a figure of the comparison, and ends no measurement
        return f"fails: {type(error).__name__}"


def measure(name: str, contest: Contest, subject: Subject, budget: float) -> dict[str, Any]:
    """Return the row of a corruption."""
    own = best_ms(ours(name, contest.severity, subject), budget)
    row: dict[str, Any] = {"corruption": name, "severity": contest.severity, "robench_ms": own}
    for column in COLUMNS:
        ready = contest.peers.get(column)
        row[f"{column}_ms"] = "" if ready is None else _peer(ready, subject, budget, contest.times)
    peers = {c: row[f"{c}_ms"] for c in COLUMNS if isinstance(row[f"{c}_ms"], float)}
    row["ratio_to_best_peer"] = min(peers.values()) / own if peers else ""
    row["target_ms"] = "" if contest.target_ms is None else contest.target_ms
    too_long = [f"{own:.2f} ms for {row['target_ms']:.2f}"] if row["target_ms"] and own > row["target_ms"] else []
    behind = [f"{c} {own / ms:.1f} times as fast" for c, ms in peers.items() if own > SPREAD * ms]
    row["met"] = not (too_long or behind)
    row["remark"] = "; ".join([*too_long, *behind, *([contest.reason] if too_long or behind else [])])
    return row


def run(names: list[str] | None = None, side: int = SIDE, budget: float = 0.5) -> dict[str, Any]:
    """Measure.

    Args:
        names: Some of `CONTESTS`; None for all.
        side: Side of the picture; targets are for 512.
        budget: Seconds for each job.

    Returns:
        ``rows``, ``slower`` (this core beside the one that the targets were stated on), and the sums over the common
        nineteen where all were measured.
    """
    import cv2

    cv2.setNumThreads(1)
    subject = picture(side)
    slower = best_ms(_peers.camera_roll(picture(SIDE)), budget) / WARP_MS
    rows = [measure(name, CONTESTS[name], subject, budget) for name in names or CONTESTS]
    result: dict[str, Any] = {"name": "corruptions", "side": side, "slower": slower, "rows": rows}
    common = [row for row in rows if row["corruption"] in COMMON]
    if len(common) == len(COMMON):
        result["common_19_ms"] = sum(row["robench_ms"] for row in common)
        result["common_19_target_ms"] = COMMON_TARGET_MS
        theirs = [row["imagecorruptions_ms"] for row in common]
        if all(isinstance(ms, float) for ms in theirs):
            result["common_19_imagecorruptions_ms"] = sum(theirs)
    return result


def show(result: Mapping[str, Any]) -> None:
    """Print the rows as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"CPU ms a {result['side']}x{result['side']} picture, one thread")
    for column in ("corruption", "robench", *COLUMNS, "ratio", "target", "met"):
        table.add_column(column, justify="left" if column == "corruption" else "right")
    for row in result["rows"]:
        cells = [row["robench_ms"], *(row[f"{c}_ms"] for c in COLUMNS), row["ratio_to_best_peer"], row["target_ms"]]
        table.add_row(
            row["corruption"],
            *(f"{c:.2f}" if isinstance(c, float) else str(c) for c in cells),
            "yes" if row["met"] else "no",
        )
    console = Console(width=150)
    console.print(table)
    if "common_19_ms" in result:
        theirs = result.get("common_19_imagecorruptions_ms")
        console.print(
            f"The common nineteen: {result['common_19_ms']:.0f} ms (target {result['common_19_target_ms']:.0f})"
            + ("" if theirs is None else f", imagecorruptions {theirs:.0f} ms")
        )
        if theirs is not None:
            console.print(
                f"Those of imagecorruptions take {theirs / COMMON_PEER_MS:.2f} times as long as on the core that"
                " targets were stated on."
            )
    console.print(
        f"A fixed warp takes {result['slower']:.2f} times as long as on the core that targets were stated on."
    )
    for row in result["rows"]:
        if row["remark"]:
            console.print(f"{row['corruption']}: {row['remark']}")
