"""``robench data``: make, check and describe data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from robench.cli import _work
from robench.errors import Mismatch, UsageError


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Make, check and describe data sets.")
    group.command("synth")(synth)
    group.command("verify")(verify)
    group.command("info")(info)
    app.add_typer(group, name="data")


def synth(
    out: Annotated[Path, typer.Argument(help="Folder to make; what is already there and whole is kept.")],
    subjects: Annotated[int, typer.Option("--subjects", min=1, help="How many people.")] = 10,
    views: Annotated[str, typer.Option("--views", help="Yaw angles in degrees, separated by commas.")] = "0,90,180,270",
    size: Annotated[int, typer.Option("--size", min=64, max=4096, help="Pixels a side.")] = 512,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Equal seeds make equal people.")] = 0,
    split: Annotated[
        str, typer.Option("--split", help="Which people: train, val or test; they never overlap.")
    ] = "test",
    start: Annotated[int, typer.Option("--start", min=0, help="Index of the first subject, to extend a set.")] = 0,
    workers: Annotated[int, typer.Option("--workers", "-j", min=1, help="Processes; does not change the result.")] = 1,
) -> None:
    """Render a data set of synthetic people with masks, depth, cameras and ground-truth meshes."""
    from robench.data.splits import NAMES

    if split not in NAMES:
        raise UsageError(f"There is no split '{split}'", expected="one of " + ", ".join(NAMES))
    angles = parse_views(views)
    from robench.data.anny_humans import synthesise

    revision = synthesise(
        out=out, subjects=subjects, views=angles, size=size, seed=seed, split=split, workers=workers, start=start
    )
    typer.echo(f"{out}: {subjects} subjects, {len(angles)} views each, split {split}, revision {revision[:8]}")


def verify(
    folder: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    dataset: Annotated[str | None, typer.Option("--dataset", help="Reader; found out if left out.")] = None,
    write_manifest: Annotated[
        bool, typer.Option("--write-manifest", help="If all is sound, record the SHA-256 of every file.")
    ] = False,
) -> None:
    """Read every file of a data set and compare it with its record; exit code 8 if anything is wrong."""
    from robench.data import manifest
    from robench.data.discover import open_dataset

    opened = open_dataset(folder, dataset)
    problems = opened.dataset.verify(opened.root)
    for found in problems:
        _work.say(f"{_short(found.path, opened.root)}: {found.message}")
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise Mismatch(f"The data set {folder} is not sound", got=count)
    if write_manifest:
        manifest.write_manifest(opened.root)
    recorded = (opened.root / manifest.MANIFEST).is_file()
    note = "" if recorded else f" (no {manifest.MANIFEST}: every file was read, none compared with a record)"
    typer.echo(f"{folder}: sound{note}")


def info(
    folder: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    dataset: Annotated[str | None, typer.Option("--dataset", help="Reader; found out if left out.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Machine-readable, on stdout.")] = False,
) -> None:
    """Say what a data set holds: reader, samples, subjects, views, companions, splits, revision."""
    from robench.data.discover import open_dataset

    opened = open_dataset(folder, dataset)
    facts = describe(opened.dataset, opened.name, opened.root)
    if json_:
        import json

        typer.echo(json.dumps(facts, indent=2))
        return
    for key, value in facts.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        _work.say(f"{key:10s} {text if text not in ('', None) else 'none'}")


def describe(dataset: Any, name: str, root: Path) -> dict[str, Any]:
    """Return the facts that ``robench data info`` prints, as plain values."""
    from robench.data.splits import split_names

    samples = list(dataset.samples(root))
    companions = ("mask", "depth", "normals", "camera", "mesh")
    named = split_names(root) or dataset.card.extra.get("splits", ())
    counts = {}
    for split in named:
        try:
            counts[split] = len({sample.subject_id for sample in dataset.samples(root, split)})
        except UsageError:
            continue  # a layout knows more splits than this folder has
    return {
        "dataset": f"{name}@{dataset.card.version}",
        "samples": len(samples),
        "subjects": len({sample.subject_id for sample in samples}),
        "views": len({sample.view for sample in samples}),
        "with": {kind: sum(getattr(s, kind) is not None for s in samples) for kind in companions},
        "splits": counts,
        "revision": dataset.revision(root),
    }


def parse_views(text: str) -> list[float]:
    """Return the yaw angles of ``0,30,90`` in the order given.

    Raises:
        UsageError: If one is not a finite number or is given twice.
    """
    try:
        angles = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        angles = []
    if not angles or not all(-360 <= angle <= 360 for angle in angles) or len(set(angles)) != len(angles):
        raise UsageError("The views cannot be read", got=repr(text), expected="different degrees like 0,30,90")
    return angles


def _short(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path
