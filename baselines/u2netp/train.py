"""Train ``u2netp-anny``: ``python -m baselines.u2netp.train --data DIR --out DIR --minutes 25``.

Starts on small pictures, where steps are cheap, and ends at the size of use. The answer is the running average of the
weights (EMA) with batch statistics measured anew at full size. A run stopped at any moment is resumed by the same
command; with ``--steps`` the resumed run gives the bytes of an uninterrupted one, with ``--minutes`` the schedule
follows the clock.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor
from torch.nn import functional as F

from baselines.muon import optimisers
from baselines.u2netp.composites import Views, load_views, training_picture
from baselines.u2netp.export import export_onnx
from baselines.u2netp.network import U2NetP, parameter_count
from baselines.u2netp.normalise import SIDE, normalised
from baselines.u2netp.schedule import PLAN, Phase, Settings, parsed_plan
from robench.errors import RobenchError, UsageError
from robench.io.files import atomic_path, make_folder, sha256_bytes, sha256_file, write_json_atomic, write_text_atomic
from robench.rng import generator

NAME = "u2netp-anny"


def has_fast_bfloat16() -> bool:
    """Return True if this CPU multiplies bfloat16 matrices in hardware (AMX); elsewhere it would be slower."""
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(probe()) if probe is not None else False


def supervised_loss(outputs: list[Tensor], target: Tensor) -> Tensor:
    """Sum binary cross-entropy and soft IoU loss over the fused map and all side outputs.

    Args:
        outputs: Logits, each (N, 1, H, W).
        target: (N, 1, H, W) in [0, 1].

    Returns:
        A scalar; 0 is perfect. An empty target with an empty answer costs nothing.
    """
    total = target.new_zeros(())
    for logits in outputs:
        p = torch.sigmoid(logits.float())
        both = (p * target).sum((1, 2, 3))
        either = (p + target - p * target).sum((1, 2, 3))
        iou = (both + 1.0) / (either + 1.0)
        total = total + F.binary_cross_entropy_with_logits(logits.float(), target) + (1 - iou).mean()
    return total


def batch_of(views: Views, settings: Settings, step: int, phase: Phase) -> tuple[Tensor, Tensor]:
    """Make the pictures of one step: (N, 3, S, S) normalised and (N, 1, S, S) in [0, 1]; the same for the same step."""
    inputs = np.empty((phase.batch, 3, phase.side, phase.side), np.float32)
    targets = np.empty((phase.batch, 1, phase.side, phase.side), np.float32)
    for i in range(phase.batch):
        image, mask = training_picture(
            views, generator(settings.seed, f"{step}/{i}", NAME), phase.side, settings.as_rendered
        )
        inputs[i], targets[i, 0] = normalised(image), mask / np.float32(255)
    return torch.from_numpy(inputs).contiguous(memory_format=torch.channels_last), torch.from_numpy(targets)


def clean_iou(network: U2NetP, views: Views, *, side: int = SIDE, limit: int | None = None) -> float:
    """Return the mean IoU at threshold one half on views as rendered; both empty counts 1."""
    import cv2

    network.eval()
    values = []
    for i in range(len(views) if limit is None else min(limit, len(views))):
        image, mask = views.images[i], views.masks[i]
        if image.shape[0] != side:
            image = np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
            mask = np.asarray(cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
        x = torch.from_numpy(normalised(image))[None].contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            found = network(x)[0][0, 0].numpy() > 0
        true = mask > 127
        union = int((found | true).sum())
        values.append(int((found & true).sum()) / union if union else 1.0)
    return float(np.mean(values))


class Training:
    """One training run: network, optimiser, running average, and where it stands."""

    def __init__(self, settings: Settings, data_hash: str) -> None:
        self.settings, self.data_hash = settings, data_hash
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.network, self.average = U2NetP(), U2NetP()
        self.average.load_state_dict(self.network.state_dict())
        for module in (self.network, self.average):
            for parameter in module.parameters():
                if parameter.ndim == 4:  # twice as fast on CPUs
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.optimisers = optimisers(self.network, settings.rate, settings.adam_rate)
        self.step, self.elapsed = 0, 0.0

    @property
    def progress(self) -> float:
        """Share of the training that is done: of the steps, or of the time."""
        s = self.settings
        return self.step / s.steps if s.steps is not None else self.elapsed / (60 * s.minutes)

    def advance(self, views: Views) -> dict[str, Any]:
        """Do one step and return its record."""
        began = time.monotonic()
        s, progress = self.settings, self.progress
        phase, pace = s.phase(progress), s.pace(self.step, progress)
        inputs, targets = batch_of(views, s, self.step, phase)
        for optimiser, peak in zip(self.optimisers, (s.rate, s.adam_rate), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = pace * peak
        self.network.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=s.bfloat16):
            outputs = self.network(inputs)
        loss = supervised_loss(outputs, targets)
        self.network.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self._follow()
        self.step += 1
        self.elapsed += time.monotonic() - began
        return {
            "step": self.step,
            "progress": round(self.progress, 5),
            "side": phase.side,
            "batch": phase.batch,
            "rate": pace * s.rate,
            "loss": float(loss.detach()),
            "elapsed_s": round(self.elapsed, 2),
        }

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the running average towards the network; faster at the start, when the past is worth little."""
        keep = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        for mean, now in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(now, 1 - keep)
            else:
                mean.copy_(now)

    @torch.no_grad()
    def calibrate(self, views: Views) -> None:
        """Measure the batch statistics of the averaged network at full size, over pictures of their own."""
        norms = [m for m in self.average.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the steps that follow
        self.average.train()
        last = self.settings.plan[-1]
        for k in range(self.settings.calibration):
            # Negative steps are never trained on.
            inputs, _ = batch_of(views, self.settings, -1 - k, last)
            self.average(inputs)
        self.average.eval()

    def begin_from(self, path: Path) -> None:
        """Take the averaged weights of another run's checkpoint as the first ones."""
        state: Mapping[str, Any] = torch.load(path, weights_only=True)
        for module in (self.network, self.average):
            module.load_state_dict(state["average"])

    def save(self, path: Path) -> None:
        """Write all that resuming needs; the file appears whole."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [o.state_dict() for o in self.optimisers],
            "step": self.step,
            "elapsed": self.elapsed,
            "settings": _plain(self.settings),
            "data": self.data_hash,
        }
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    def restore(self, path: Path) -> None:
        """Continue where a checkpoint stands.

        Raises:
            UsageError: If it was made with other settings or data.
        """
        state: Mapping[str, Any] = torch.load(path, weights_only=True)
        if state["settings"] != _plain(self.settings) or state["data"] != self.data_hash:
            raise UsageError(
                f"{path} was made with other settings or other data",
                got=json.dumps(state["settings"], sort_keys=True),
                expected=json.dumps(_plain(self.settings), sort_keys=True),
                hint="repeat the first command, or choose another --out",
            )
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        for optimiser, stored in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(stored)
        self.step, self.elapsed = state["step"], state["elapsed"]


def _plain(settings: Settings) -> dict[str, Any]:
    """Return the settings as JSON gives them back (tuples become lists)."""
    return dict(json.loads(json.dumps(asdict(settings))))


def _views_hash(views: Views) -> str:
    return sha256_bytes("|".join(views.names).encode() + views.masks.tobytes())


def train(
    data: Path,
    out: Path,
    *,
    settings: Settings | None = None,
    start: Path | None = None,
    save_every_s: float = 120.0,
    val_limit: int = 64,
    limit: int | None = None,
    watch: Callable[[Mapping[str, Any]], None] = lambda record: None,
) -> dict[str, Any]:
    """Train, or continue training, and write ``u2netp-anny.onnx`` and its record ``u2netp-anny.json`` into `out`.

    Args:
        data: Folder of a data set with splits ``train`` and ``val`` that have masks.
        out: Folder for the checkpoint, the log (``log.jsonl``, one record a step) and the result.
        settings: What to do; the defaults if None.
        start: Checkpoint of another run to begin from instead of random weights.
        save_every_s: Seconds between checkpoints; 0 saves after every step.
        val_limit: Views of ``val`` in the final score.
        limit: Use at most so many training views.
        watch: Is given every record of the log; may raise to interrupt.

    Returns:
        The record of the weights: sha256, IoU on clean val views, settings, data hash.

    Raises:
        UsageError: If the data has no masks, or `out` holds a run with other settings.
    """
    make_folder(out)
    settings = settings or Settings()
    if start is not None:
        settings = replace(settings, start=sha256_file(start))
    side = settings.plan[-1].side
    views = load_views(data, "train", side, limit)
    val = load_views(data, "val", side, val_limit)
    run = Training(settings, _views_hash(views))
    checkpoint, log = out / "checkpoint.pt", out / "log.jsonl"
    if checkpoint.is_file():
        run.restore(checkpoint)
    elif start is not None:
        run.begin_from(start)
    _cut_log(log, run.step)
    saved = time.monotonic()
    with open(log, "a", encoding="utf-8", buffering=1) as lines:

        def note(record: dict[str, Any]) -> None:
            lines.write(json.dumps(record) + "\n")
            watch(record)

        tenth = int(10 * run.progress)
        while run.progress < 1.0:
            record = run.advance(views)
            if time.monotonic() - saved >= save_every_s:
                run.save(checkpoint)
                saved = time.monotonic()
            if int(10 * run.progress) > tenth:
                tenth = int(10 * run.progress)
                record["val_iou"] = clean_iou(run.average, val, side=record["side"], limit=16)
            note(record)
        run.save(checkpoint)
        run.calibrate(views)
        iou = clean_iou(run.average, val, side=side)
        sha256 = export_onnx(run.average, out / f"{NAME}.onnx", side=side)
        result = {
            "name": NAME,
            "sha256": sha256,
            "parameters": parameter_count(run.average),
            "val_iou": round(iou, 4),
            "val_views": len(val),
            "train_views": len(views),
            "train_data": run.data_hash,
            "steps": run.step,
            "minutes": round(run.elapsed / 60, 1),
            "settings": _plain(settings),
        }
        write_json_atomic(out / f"{NAME}.json", result)
        note({"step": run.step, "done": True, "val_iou": iou, "sha256": sha256})
    return result


def _cut_log(log: Path, step: int) -> None:
    """Drop what the log says about steps after the checkpoint: they will be done again."""
    if log.is_file():
        lines = log.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        write_text_atomic(log, "".join(line + "\n" for line in kept))


def main(
    data: Annotated[Path, typer.Option(help="Data set with images, masks and splits train and val.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoint, log and the ONNX file.")],
    minutes: Annotated[float, typer.Option(help="Time limit; the schedule fills it.")] = 25.0,
    steps: Annotated[int | None, typer.Option(help="Length in steps instead of minutes (repeatable).")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and pictures.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
    limit: Annotated[int | None, typer.Option(help="Use at most so many training views.")] = None,
    plan: Annotated[str | None, typer.Option(help="Sizes, as share:side:batch,...")] = None,
    rate: Annotated[float, typer.Option(help="Peak step size of Muon.")] = Settings.rate,
    as_rendered: Annotated[float, typer.Option(help="Share of pictures with their rendered background.")] = 0.5,
    start: Annotated[Path | None, typer.Option(help="Checkpoint of another run to begin from.")] = None,
) -> None:
    """Train U²-Net_p on composites of rendered people and export it for rembg."""
    torch.set_num_threads(threads)

    def show(record: Mapping[str, Any]) -> None:
        if record.get("done") or "val_iou" in record or record["step"] % 20 == 0:
            typer.echo(json.dumps(record))

    try:
        settings = Settings(
            seed=seed,
            steps=steps,
            minutes=minutes,
            plan=PLAN if plan is None else parsed_plan(plan),
            rate=rate,
            bfloat16=has_fast_bfloat16(),
            as_rendered=as_rendered,
        )
        result = train(data, out, settings=settings, start=start, limit=limit, watch=show)
    except RobenchError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(int(error.exit_code)) from error
    typer.echo(json.dumps(result, indent=2))


if __name__ == "__main__":
    typer.run(main)
