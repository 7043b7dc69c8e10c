"""Run folders on disk with known truth: what every number of a report, comparison, gate or leaderboard must be.

``write_run(parent, "toy")`` writes ``parent/<run_id>`` as `robench evaluate` leaves it (rows of the whole schema,
``run.json``, ``events.jsonl``) and returns its truth. Without noise and failures:

* the ratio to clean under a corruption, severities averaged, is exactly ``effects[corruption]``, and RR of the scores
  (``fscore_1cm``, ``mask_iou``) is exactly ``1 / effects[corruption]``;
* the clean error of a run is `clean_cm` times that of another with ``clean_cm=1``, and so is every other error, so that
  `robench compare` finds exactly that factor at each of its lines;
* a model whose effects are all 1 (`MEAN_BODY`) is a reference whose CE of a model is its ratio times
  ``model.clean / reference.clean``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.engine.protocol import FRAME, Identity
from robench.engine.rows import write_rows
from robench.engine.run_folder import log_event
from robench.io.files import write_json_atomic
from robench.schema import SCHEMA_VERSION

EFFECTS = {"camera_roll": 2.0, "fog_3d": 1.25, "iso_noise": 1.6}
MEAN_BODY = dict.fromkeys(EFFECTS, 1.0)
PENALTY_CM = 9.0
METRICS = {
    # name: (unit, direction, n_points, alignment)
    "chamfer_cm": ("cm", "lower", 10_000, "camera"),
    "p2s_pred_to_gt_cm": ("cm", "lower", 10_000, "camera"),
    "fscore_1cm": ("1", "higher", 10_000, "camera"),
    "mask_iou": ("1", "higher", 0, "camera"),
}
OF_CHAMFER = {"chamfer_cm": 1.0, "p2s_pred_to_gt_cm": 0.9}

Fails = Mapping[tuple[str, int], int]


@dataclass(frozen=True, eq=False)
class SyntheticRun:
    """A run on disk and what is true of it.

    Attributes:
        folder: The run.
        run_id: Its name.
        model: The model's.
        effects: Corruption → ratio of corrupted to clean error, severities averaged.
        clean: Mean clean ``chamfer_cm`` over subjects.
        scores: Metric → (subjects, conditions) scores, views averaged; those of failures are penalties.
        conditions: ``(corruption, severity)``, clean first.
    """

    folder: Path
    run_id: str
    model: str
    effects: Mapping[str, float]
    clean: float
    scores: Mapping[str, NDArray[np.float64]]
    conditions: Sequence[tuple[str, int]]

    @property
    def ratio_gm(self) -> float:
        """The headline: geometric mean of the effects."""
        return float(np.exp(np.mean(np.log(list(self.effects.values())))))

    @property
    def rows(self) -> Path:
        """Its one part."""
        return self.folder / "rows" / "part-0000.parquet"


def sha(text: str) -> str:
    """64 hexadecimal digits that name a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def write_run(
    parent: Path,
    model: str = "toy",
    *,
    effects: Mapping[str, float] = EFFECTS,
    clean_cm: float = 1.0,
    subjects: int = 12,
    views: int = 1,
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    metrics: Sequence[str] = tuple(METRICS),
    noise: float = 0.0,
    seed: int = 0,
    fails: Fails | None = None,
    checkpoint: str = "",
    masker: str = "given",
    dataset: str = "synthetic-people",
    state: str = "complete",
    partial: bool = False,
    columns: Mapping[str, Any] | None = None,
) -> SyntheticRun:
    """Write a run.

    Args:
        parent: Folder of runs.
        model: Its name; with `checkpoint` it also makes the checkpoint's hash, and so the run's name.
        effects: Corruption → ratio to clean, in (0, 2.5).
        clean_cm: Factor of all errors.
        subjects: People; number i is the same person in every run.
        views: Samples of each, equal but for noise.
        severities: Of every corruption; the ratio of severity s is ``1 + (effect - 1) * s / mean(severities)``.
        metrics: Of `METRICS`.
        noise: Standard deviation of the logarithm of each error.
        seed: Of the noise.
        fails: ``(corruption, severity)`` → how many of the first subjects fail there, in all views.
        checkpoint: Another one of the same model.
        masker: ``given``, or the name of one that predicts.
        dataset: Its name, and so its revision.
        state: Of ``run.json``.
        partial: The run took only some of the data set's samples.
        columns: Values of columns for all rows, whatever else was said.
    """
    conditions = [("clean", 0), *((name, int(s)) for name in effects for s in severities)]
    cset = sha(f"{dataset}|{sorted({(name, s) for name, s in conditions})}")
    given = masker == "given"
    protocol = {
        "schema_version": SCHEMA_VERSION,
        "frame": FRAME,
        "metrics": [_metric_facts(name) for name in sorted(metrics)],
        "masker": {"name": masker, "version": "1", "weights": None if given else sha(masker)},
        "model_options": {},
        "penalty": {"model": "mean-body", "version": "1", "checkpoint_sha256": sha("mean-body")},
    }
    identity = Identity(model, "1", sha(f"{model}{checkpoint}"), cset, protocol)
    folder = Path(parent) / identity.run_id
    factors = [1.0 if name == "clean" else 1 + (effects[name] - 1) * s / np.mean(severities) for name, s in conditions]
    keeps = [
        1.0 if name == "clean" else 1 + (1 / effects[name] - 1) * s / np.mean(severities) for name, s in conditions
    ]
    if min(keeps) < 0:
        raise ValueError("an effect this large leaves a score below 0")
    errors = clean_cm * people(subjects)[:, None] * factors
    share = np.clip(0.8 - 0.02 * np.arange(subjects) % 0.3, 0.3, 1.0)[:, None] * keeps
    scores = {name: errors * OF_CHAMFER[name] for name in OF_CHAMFER}
    scores |= {"fscore_1cm": share, "mask_iou": np.broadcast_to(0.97 * np.asarray(keeps), errors.shape)}
    clean = float(errors[:, 0].mean())
    shared = {
        "run_id": identity.run_id,
        "masker": masker,
        "frame": FRAME,
        "mask_source": "gt" if given else f"predicted:{masker}",
        "prior_source": "none",
        "track": "given-mask" if given else "image-only",
        "model": model,
        "checkpoint_sha256": identity.checkpoint_sha256,
        "adapter_version": "1",
        "dataset": dataset,
        "dataset_revision": sha(dataset),
        "split_sha256": sha(f"{dataset} test"),
        "cset_id": cset,
        "device": "cpu",
        "robench_version": "0.1.0",
        "time_s": 0.5,
        "gpu_mem_mb": None,
        "attempt": 1,
        "shard": 0,
        **(columns or {}),
    }
    write_rows(
        folder / "rows" / "part-0000.parquet",
        (
            row | shared
            for row in _rows(conditions, scores, metrics, views, noise, np.random.default_rng([seed, 1]), fails or {})
        ),
    )
    failed = views * sum((fails or {}).values())
    about = {
        "schema_version": SCHEMA_VERSION,
        "run_id": identity.run_id,
        **identity.to_json(),
        "versions": {"robench": "0.1.0", "python": "3.11.7", "machine": "x86_64", "numpy": "2.4.6"},
        "options": {"model": model, "masker": masker, "data": "people", "device": "cpu"},
        "dataset": {
            "name": dataset,
            "root": "people",
            "revision": sha(dataset),
            "split": "test",
            "split_sha256": sha(f"{dataset} test"),
            "samples": subjects * views,
            "subjects": subjects,
            "partial": partial,
        },
        "recipe": {"name": "synthetic", "version": "1", "conditions": [list(c) for c in conditions], "composed": {}},
        "seed": 0,
        "cset": None,
        "track": shared["track"],
        "mask_source": shared["mask_source"],
        "masks_from": "gt" if given else "predicted",
        "device": {"asked": "cpu", "model": "cpu", "masker": "cpu"},
        "parameters": 1_000_000,
        "checkpoint": None,
        "cards": {
            "model": _card(model, {"inputs_used": ["image", "mask"], "frame": "view", "unit": "cm"}),
            "masker": _card(masker, {"source": "gt" if given else "predicted"}),
            "metrics": [_card(name, _metric_facts(name)) for name in sorted(metrics)],
        },
        "state": state,
        "statuses": {"ok": subjects * views * len(conditions) - failed, **({"failed": failed} if failed else {})},
    }
    write_json_atomic(folder / "run.json", about)
    cells = subjects * views * len(conditions)
    log_event(folder, "started", cells=cells, todo=cells, shards=1, command=f"robench evaluate --model {model}")
    for (name, severity), count in (fails or {}).items():
        column = conditions.index((name, severity))
        for metric, lost in ((m, 0.0 if METRICS[m][1] == "higher" else PENALTY_CM) for m in scores if m != "mask_iou"):
            scores[metric] = scores[metric].copy()
            scores[metric][:count, column] = lost
    return SyntheticRun(folder, identity.run_id, model, dict(effects), clean, scores, conditions)


def people(count: int) -> NDArray[np.float64]:
    """Return (count,) clean errors of people in centimetres, the same first ones whatever the count."""
    return np.exp(np.random.default_rng(0).normal(0.0, 0.25, 1000)[:count])


def _rows(
    conditions: Sequence[tuple[str, int]],
    scores: Mapping[str, NDArray[np.float64]],
    metrics: Sequence[str],
    views: int,
    noise: float,
    rng: np.random.Generator,
    fails: Fails,
) -> Iterator[dict[str, Any]]:
    for subject in range(len(next(iter(scores.values())))):
        for view in range(views):
            for column, (corruption, severity) in enumerate(conditions):
                off = float(np.exp(noise * rng.normal())) if noise else 1.0
                is_lost = subject < fails.get((corruption, severity), 0)
                key = f"p{subject:03d}_{view:03d}"
                picture = sha(f"{key}|{corruption}|{severity}")
                for metric in metrics:
                    unit, direction, n_points, alignment = METRICS[metric]
                    lost = is_lost and metric != "mask_iou"
                    value = float(scores[metric][subject, column]) * (off if metric in OF_CHAMFER else 1.0)
                    yield {
                        "sample_id": key,
                        "subject_id": f"p{subject:03d}",
                        "view_id": str(view),
                        "corruption": corruption,
                        "severity": severity,
                        "metric": metric,
                        "value": None if lost else value,
                        "unit": unit,
                        "direction": direction,
                        "status": "failed" if lost else "ok",
                        "failure_value": (0.0 if direction == "higher" else PENALTY_CM) if lost else None,
                        "message": "the network saw nobody" if lost else "",
                        "metric_version": "1",
                        "n_points": n_points,
                        "metric_seed": 0,
                        "alignment": alignment,
                        "corruption_version": None if severity == 0 else "1",
                        "image_sha256": picture,
                        "mask_sha256": sha(f"mask|{picture}"),
                        "mesh_sha256": None if is_lost else sha(f"mesh|{picture}|{value}"),
                    }


def _metric_facts(name: str) -> dict[str, Any]:
    unit, direction, n_points, alignment = METRICS[name]
    return {
        "name": name,
        "version": "1",
        "unit": unit,
        "direction": direction,
        "n_points": n_points,
        "seed": 0,
        "alignment": alignment,
    }


def _card(name: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "version": "1",
        "summary": f"{name}, made up",
        "licence": "Apache-2.0",
        "reference": "made up",
        "needs": [],
        "extra": dict(extra),
    }
