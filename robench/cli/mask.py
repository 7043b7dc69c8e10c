"""``robench mask``: find the person in every picture of a set or a folder, and keep the masks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robench.cli import _work
from robench.errors import ExitCode

if TYPE_CHECKING:
    from robench.engine.masks import Item


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("mask")(mask)


def mask(
    target: Annotated[Path, typer.Argument(metavar="CSET|FOLDER", help="A corrupted set, or any folder of pictures.")],
    masker: Annotated[str, typer.Option("--masker", help="See `robench list maskers`.")] = "u2netp-anny",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where to; in the set itself, or in FOLDER-masks beside a folder, if left out."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu | cuda | auto")] = "auto",
    json_: _work.JsonOption = False,
    quiet: _work.QuietOption = False,
) -> None:
    """Mask pictures; a later `robench evaluate --cset CSET` by the same masker takes the stored masks.

    A picture in which nobody is found gets a blank mask. Running the same command again resumes. Exits 3 if a picture
    could not be masked.
    """
    from robench.engine.cset import is_set, open_set
    from robench.engine.masks import folder_name, load_masker, set_items, write_masks

    finder = load_masker(masker)
    items: list[Item]
    if is_set(target):
        cset = open_set(target)
        items, about = set_items(cset), {"cset_id": str(cset.manifest["cset_id"])}
        folder = out or target / "masks" / folder_name(finder)
    else:
        items, about = _folder_items(target)
        folder = out or target.resolve().with_name(f"{target.resolve().name}-masks")
    with _work.resumable():
        report = write_masks(items, folder, finder, device, about=about, quiet=quiet)
    if json_:
        import json

        facts = {**vars(report), "folder": str(report.folder)}
        typer.echo(json.dumps(facts, indent=2))
    else:
        for name, message in report.failed[:10]:
            _work.say(f"failed: {name}: {message}", err=True)
        blank = f", {report.blank} of them blank" if report.blank else ""
        typer.echo(f"{report.folder}: {report.masks} masks{blank} ({report.made} made now, on {report.device})")
    if report.failed:
        raise typer.Exit(int(ExitCode.TOO_MANY_FAILURES))


def _folder_items(root: Path) -> tuple[list[Item], dict[str, str]]:
    """Return the pictures of a folder or data set; ``x.jpg`` gets ``x.png``, as a data folder's ``masks/`` has it."""
    from robench.data.discover import FALLBACK
    from robench.data.folder import picture_key
    from robench.engine.masks import Item
    from robench.engine.selection import select

    selection = select(root)
    is_plain = selection.dataset == FALLBACK
    items = [
        Item(s.sample_id, s.image, f"{picture_key(selection.root, s.image) if is_plain else s.sample_id}.png")
        for s in selection.samples
    ]
    return items, {"dataset": selection.dataset, "dataset_revision": selection.revision}
