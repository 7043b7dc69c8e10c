"""Find out which registered data set a folder is."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from robench import registry
from robench.contracts import Dataset
from robench.errors import EnvironmentNotReady, UsageError

FALLBACK: Final = "folder"


class Opened(NamedTuple):
    """A folder and its reader.

    Attributes:
        dataset: The reader.
        name: Its registered name.
        root: The folder.
    """

    dataset: Dataset
    name: str
    root: Path


def open_dataset(root: Path, name: str | None = None) -> Opened:
    """Open a folder with the first registered data set that accepts it, the plain folder last.

    Args:
        root: The data set's folder.
        name: A registered data set to insist on.

    Returns:
        The reader, its name and the folder.

    Raises:
        UsageError: If the folder is missing, is a file, is empty, or is of no known (or of another) layout.
        EnvironmentNotReady: If the data set asked for is a broken plug-in.
    """
    root = Path(root)
    if not root.exists():
        raise UsageError(f"There is no folder {root}", hint="robench data synth OUT --subjects 4")
    if not root.is_dir():
        raise UsageError(f"{root} is a file", expected="the folder of a data set")
    try:
        empty = next(root.iterdir(), None) is None
    except PermissionError as error:
        raise UsageError(f"There is no permission to read {root}") from error
    if empty:
        raise UsageError(f"The folder {root} is empty", expected="pictures or a data set")
    if name is not None:
        dataset = registry.load("datasets", name)
        if not dataset.accepts(root):
            raise UsageError(f"{root} does not have the layout of '{name}'", hint="robench list datasets")
        return Opened(dataset, name, root)
    known = [n for n in registry.entries("datasets") if n != FALLBACK] + [FALLBACK]
    broken = []
    for candidate in known:
        try:
            dataset = registry.load("datasets", candidate)
        except EnvironmentNotReady:
            broken.append(candidate)  # a stranger's broken plug-in must not keep us from our own data
            continue
        if dataset.accepts(root):
            return Opened(dataset, candidate, root)
    expected = "pictures (png, jpg, webp, bmp, tiff) in it or in its images/, or the layout of one of " + ", ".join(
        known
    )
    hint = f"robench doctor (these readers are broken: {', '.join(broken)})" if broken else "robench list datasets"
    raise UsageError(f"{root} is not a data set that robench knows", expected=expected, hint=hint)
