"""Write the site: whole or not at all, and over nothing that is not a site."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from robench.errors import UsageError
from robench.io.files import TEMP_PREFIX, explained, make_folder, read_json, write_bytes_atomic, write_json_atomic
from robench.leaderboard.site.boards import read_boards
from robench.leaderboard.site.pages import pages

MARK = "site.json"
"""Lists the files of a site, so that it can be told from a folder with something else in it."""
_MADE_BY = "robench leaderboard build"


@dataclass(frozen=True)
class Site:
    """What was made.

    Attributes:
        index: The page to open.
        boards: How many boards it shows.
        models: How many models.
        files: Names of all files.
    """

    index: Path
    boards: int
    models: int
    files: tuple[str, ...]


def build_site(folder: Path, out: Path) -> Site:
    """Make the static site of a folder of leaderboards.

    The bytes depend on the published files and on the installed robench alone.

    Args:
        folder: Such as ``leaderboards/``.
        out: Folder of the site; an older site there is replaced.

    Raises:
        UsageError: If there is no such folder, `out` lies in it or has files that are no part of a site.
        Mismatch: If a table or record is damaged.
        EnvironmentNotReady: If the disk is full.
    """
    refuse_foreign(out, folder)
    boards = read_boards(folder)
    found = dict(pages(boards))
    make_folder(out.parent)
    fresh = out.parent / f"{TEMP_PREFIX}{secrets.token_hex(6)}-site"
    try:
        with explained(out):
            for name, data in found.items():
                write_bytes_atomic(fresh / PurePosixPath(name), data, durable=False)
            write_json_atomic(fresh / MARK, {"made_by": _MADE_BY, "files": sorted(found)})
            _replace(fresh, out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    models = len({line["model"] for board in boards for line in board.lines})
    return Site(out / "index.html", len(boards), models, tuple(sorted([*found, MARK])))


def refuse_foreign(out: Path, folder: Path) -> None:
    """Check that a site may be written.

    Raises:
        UsageError: If `out` is a file or a link, lies in `folder` or holds it, or has a file that no site of ours has.
    """
    here, there = out.resolve(), folder.resolve()
    if here == there or here.is_relative_to(there) or there.is_relative_to(here):
        raise UsageError(
            f"The site cannot be written to {out}", got="the folder of the leaderboards", expected="another"
        )
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UsageError(f"{out} is no folder", expected="a folder for the site", hint="choose another --out")
    if not out.exists() or not any(out.iterdir()):
        return
    known = _files_of(out)
    strange = sorted(
        path.relative_to(out).as_posix()
        for path in out.rglob("*")
        if (path.is_symlink() or not path.is_dir()) and path.relative_to(out).as_posix() not in known
    )
    if strange:
        raise UsageError(
            f"{out} holds files that are no part of a site",
            got=", ".join(strange[:3]) + (", ..." if len(strange) > 3 else ""),
            expected="an empty folder, or a site that this command made",
            hint="choose another --out",
        )


def _files_of(out: Path) -> set[str]:
    """Return the files that a site's own list names; none where there is no such list."""
    try:
        mark = read_json(out / MARK)
    except UsageError:
        return set()
    files = mark.get("files") if isinstance(mark, dict) and mark.get("made_by") == _MADE_BY else None
    return {MARK, *map(str, files)} if isinstance(files, list) else set()


def _replace(fresh: Path, out: Path) -> None:
    """Put a finished folder in the place of an older site, if there is one."""
    old = fresh.with_name(f"{fresh.name}-old")
    if out.exists():
        os.rename(out, old)
    try:
        os.rename(fresh, out)
    except BaseException:  # Ctrl-C too: the older site comes back
        if old.exists():
            os.rename(old, out)
        raise
    shutil.rmtree(old, ignore_errors=True)
