"""Where a masking network's ONNX file is, whether it is the right one, and how the user may fetch it.

Nothing here touches the network except `fetch`, and nothing calls `fetch` but a user's own wish.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robench.errors import EnvironmentNotReady, Mismatch, UsageError
from robench.io.weights import WEIGHTS_VARIABLE, weights_folder

SHIPPED = Path(__file__).parent / "weights"
"""The folder of weights that come with robench."""


@dataclass(frozen=True)
class Network:
    """One masking network: whose session runs it and which bytes it is.

    Attributes:
        name: The masker's name.
        session: rembg's name of the session class.
        digest: ``md5:<32 hex>`` that rembg publishes, or ``sha256:<64 hex>`` of our own card; empty if not known yet.
        licence: SPDX id of the *weights*; ``NOASSERTION`` where their publisher states none.
        trained_on: What the weights have seen.
        reference: Paper.
        summary: One line.
        side: Edge of the square input in pixels.
        shipped: True if the file comes with robench.
        facts: More for the card.
    """

    name: str
    session: str
    digest: str
    licence: str
    trained_on: str
    reference: str
    summary: str
    side: int = 320
    shipped: bool = False
    facts: Mapping[str, Any] | None = None

    @property
    def file(self) -> str:
        """The ONNX file's name."""
        return f"{self.name}.onnx"


def session_class(network: Network) -> Any:
    """Return rembg's session class of a network.

    Raises:
        EnvironmentNotReady: If the installed rembg cannot be imported or has no such session.
    """
    try:
        with _kept_thread_counts():
            from rembg.sessions import sessions
    except (ImportError, SystemExit) as error:  # rembg ends the process when there is no onnxruntime
        raise EnvironmentNotReady(
            "rembg cannot be imported", got=str(error), hint='pip install "rembg[cpu]" or "rembg[gpu]"'
        ) from error
    if network.session not in sessions:
        raise EnvironmentNotReady(
            f"The installed rembg has no session '{network.session}'",
            expected="rembg 2.0.86 or later",
            hint='pip install -U "rembg[cpu]"',
        )
    return sessions[network.session]


@contextlib.contextmanager
def _kept_thread_counts() -> Iterator[None]:
    """Keep OpenMP's thread count over an import of rembg.

    rembg imports pymatting, whose numba sets the count of the whole process to the number of cores, against
    OMP_NUM_THREADS and `torch.set_num_threads`; reconstructors beside a masker would then fight for the cores.
    """
    name, wished = "NUMBA_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "")
    for_numba = wished.isdigit() and int(wished) > 0 and name not in os.environ
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else None
    if for_numba:
        os.environ[name] = wished
    try:
        yield
    finally:
        if for_numba:
            os.environ.pop(name, None)
        if torch is not None:
            torch.set_num_threads(before)


def find_weights(network: Network) -> Path:
    """Find a network's ONNX file and check its bytes; never downloads.

    Looks in the folder of shipped weights (for a shipped network), `weights_folder`, and rembg's own folders
    (``$U2NET_HOME``, ``~/.rembg/models/<name>``, ``~/.u2net``).

    Raises:
        EnvironmentNotReady: If it is in none of them.
        Mismatch: If the file found is not the published one.
    """
    candidates = [SHIPPED / network.file] if network.shipped else [weights_folder() / network.file]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None and not network.shipped:
        existing = session_class(network).resolve_existing(network.file)
        found = Path(existing) if existing else None
    if found is None:
        raise EnvironmentNotReady(
            f"The weights of the masker '{network.name}' are not here",
            got=f"no {network.file} in {candidates[0].parent}" + ("" if network.shipped else " or in rembg's folders"),
            expected=f"{network.file} ({network.licence})",
            hint=(
                "python -m baselines.u2netp.train --data DIR --out DIR, then copy the .onnx and .json files there"
                if network.shipped
                else f"robench fetch weights {network.name}, or set {WEIGHTS_VARIABLE} to the folder that has it"
            ),
        )
    check_digest(found, network.digest)
    return found


def check_digest(path: Path, digest: str) -> None:
    """Compare a file with its published hash.

    Args:
        path: The file.
        digest: ``algorithm:hexadecimal``.

    Raises:
        Mismatch: If they differ.
    """
    algorithm, _, expected = digest.partition(":")
    with open(path, "rb") as handle:
        got = hashlib.file_digest(handle, algorithm or "sha256").hexdigest()
    if got != expected:
        raise Mismatch(
            f"{path} is not the published file",
            got=f"{algorithm} {got}",
            expected=expected or "a hash in the weights' card",
            hint="delete it and fetch it again",
        )


def fetch(network: Network, folder: Path | None = None) -> Path:
    """Download a network's weights by rembg's own downloader, check them, and return the file.

    Only for a user who asked for it by name; a file that is already there and sound is not downloaded again.

    Args:
        network: Which.
        folder: Where to; `weights_folder` by default.

    Raises:
        UsageError: If the folder cannot be written.
        EnvironmentNotReady: If the download fails.
        Mismatch: If the file is not the published one.
    """
    if network.shipped:
        return find_weights(network)
    target = (folder or weights_folder()) / network.file
    if not target.is_file():
        base = session_class(network)
        # rembg's class knows the address; only where it looks and writes is ours.
        here = {
            "model_dir": classmethod(lambda cls, *args, **kwargs: str(target.parent)),
            "resolve_existing": classmethod(lambda cls, *args, **kwargs: None),
        }
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"There is no folder {target.parent} and it cannot be made", got=error.strerror or str(error)
            ) from error
        try:
            kind: Any = type(base.__name__, (base,), here)
            kind.download_models()
        except (OSError, ValueError) as error:  # no network, no such file, not the published bytes
            raise EnvironmentNotReady(
                f"The weights of '{network.name}' could not be downloaded",
                got=" ".join(str(error).split())[:200],
                hint=f"put {network.file} into {target.parent} by hand",
            ) from error
    check_digest(target, network.digest)
    return target
