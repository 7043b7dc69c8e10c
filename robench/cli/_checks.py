"""The checks of ``robench doctor``. Each returns findings; none raises for what it looks for."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import robench
from robench.errors import Mismatch, RobenchError

Verdict = Literal["ok", "absent", "failed"]
"""``absent`` is told and stops nothing; ``failed`` means that robench cannot do its work here."""

_LIBRARIES = {
    # import name → (distribution, what the system must bring for it, as Debian names it)
    "numpy": ("numpy", ""),
    "torch": ("torch", ""),
    "warp": ("warp-lang", ""),
    "cv2": ("opencv-python", "libgl1 libglib2.0-0"),
    "av": ("av", ""),
    "onnxruntime": ("onnxruntime", ""),
    "anny": ("anny", ""),
    "trimesh": ("trimesh", ""),
    "skimage": ("scikit-image", ""),
    "pandas": ("pandas", ""),
    "pyarrow": ("pyarrow", ""),
    "matplotlib": ("matplotlib", ""),
}
_OURS = "robench ("
_GL_PROBE = """
from robench.rendering.gl import gl_mask
from robench.testing import example_camera, example_mask, example_mesh
found = gl_mask(example_mesh(), example_camera())
share = found.mean() / example_mask().mean()
assert 0.8 < share < 1.2, f"the silhouette has {share:.2f} of its pixels"
"""
_GL_SECONDS = 180


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was looked at, how it is, and what to do where it is not well."""

    area: str
    name: str
    verdict: Verdict
    detail: str
    hint: str = ""


def system() -> Iterator[Finding]:
    """Python, robench and the room on the disk."""
    yield Finding("system", "robench", "ok", f"{robench.__version__}, Python {platform.python_version()}")
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    verdict: Verdict = "ok" if free > 1 else "failed"
    yield Finding("system", "disk", verdict, f"{free:.1f} GB free here", "" if free > 1 else "free at least 1 GB")


def libraries() -> Iterator[Finding]:
    """Import every library that robench stands on."""
    for module, (distribution, packages) in _LIBRARIES.items():
        try:
            importlib.import_module(module)
        except (ImportError, OSError) as error:
            hint = f"apt-get install {packages}" if packages else "make setup"
            yield Finding("library", distribution, "failed", f"{type(error).__name__}: {error}", hint)
        else:
            yield Finding("library", distribution, "ok", _version(distribution))


def _version(distribution: str) -> str:
    for name in (distribution, f"{distribution}-gpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "version unknown"


def devices(wanted: str) -> Iterator[Finding]:
    """What torch, Warp and ONNX Runtime can compute on.

    Args:
        wanted: ``cpu``, ``auto`` or ``cuda``, maybe with an index; a GPU is needed only where it is asked for.
    """
    absent: Verdict = "failed" if wanted.startswith("cuda") else "absent"
    hint = "install an NVIDIA driver and a CUDA build of torch; for ONNX Runtime pip install 'robench[gpu]'"
    import torch

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    yield (
        Finding("device", "torch", "ok", ", ".join(["cpu", *names]))
        if names
        else Finding("device", "torch", absent, "cpu only", hint if absent == "failed" else "")
    )
    import warp

    # Not Warp's greeting among our lines.
    warp.config.log_level = warp.LOG_WARNING
    yield Finding("device", "warp", "ok", ", ".join(str(device) for device in warp.get_devices()))
    import onnxruntime

    providers = [name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()]
    yield Finding("device", "onnxruntime", "ok", ", ".join(providers))


def gl() -> Iterator[Finding]:
    """Try an off-screen picture in a process of its own: a broken driver may end the process. GL is optional."""
    for backend, package in (("egl", "libegl1"), ("osmesa", "libosmesa6")):
        environment = {**os.environ, "PYOPENGL_PLATFORM": backend}
        probe = [sys.executable, "-P", "-c", _GL_PROBE]  # -P: modules are not looked for in the working folder
        try:
            done = subprocess.run(
                probe, env=environment, capture_output=True, text=True, timeout=_GL_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            yield Finding("gl", backend, "absent", f"no answer within {_GL_SECONDS} s", "only the GL renderer needs it")
            continue
        if done.returncode == 0:
            yield Finding("gl", backend, "ok", "pyrender draws the right silhouette")
        else:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            hint = f"apt-get install {package}; only the GL renderer needs it"
            yield Finding("gl", backend, "absent", last[:120], hint)


def codecs() -> Iterator[Finding]:
    """The video encoders and the bit-stream filter that corruptions use."""
    import av

    for name in ("libx264", "libx265"):
        try:
            av.codec.Codec(name, "w")
        except ValueError as error:
            yield Finding("codec", name, "failed", f"no such encoder: {error}", "pip install --force-reinstall av")
        else:
            yield Finding("codec", name, "ok", f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}")
    found = "noise" in av.bitstream.bitstream_filters_available
    yield Finding(
        "codec",
        "noise filter",
        "ok" if found else "failed",
        "bit-stream filter" if found else "no such bit-stream filter",
        "" if found else "pip install --force-reinstall av",
    )


def caches() -> Iterator[Finding]:
    """Folders that libraries fill on first use; they must be writable."""
    import anny.paths
    import warp

    for name, folder in (("anny", anny.paths.get_anny_cache_path()), ("warp", warp.config.kernel_cache_dir)):
        if folder is None:
            continue
        path = Path(folder)
        there = path
        while not there.exists():
            there = there.parent
        if not os.access(there, os.W_OK):
            hint = f"make {there} writable, or set ANNY_CACHE_DIR / WARP_CACHE_PATH"
            yield Finding("cache", name, "failed", f"{path} is not writable", hint)
        else:
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6
            yield Finding("cache", name, "ok", f"{path}, {size:.0f} MB")


def weights() -> Iterator[Finding]:
    """Look for every file of weights and compare it with its card; nothing is fetched.

    Our own models are opened on the CPU, which loads strictly and compares the sha256. A stranger's model may take
    minutes and gigabytes to open, so it is opened only by `canary`.
    """
    from robench import registry
    from robench.io.files import sha256_file
    from robench.masking.rembg import networks
    from robench.masking.weights import find_weights

    for status in registry.survey("models"):
        if status.card is not None and status.entry.origin.startswith(_OURS):
            yield _model_weights(status.entry.name)
    for name, network in networks().items():
        try:
            path = find_weights(network)
        except RobenchError as error:
            needed = network.shipped or isinstance(error, Mismatch)
            yield Finding("weights", name, "failed" if needed else "absent", error.what, error.hint)
        else:
            yield Finding("weights", name, "ok", f"sha256 {sha256_file(path)}, {path}")


def _model_weights(name: str) -> Finding:
    from robench import registry

    model = registry.load("models", name)
    try:
        report = model.open("cpu")
    except RobenchError as error:
        # A model without weights of its own says so as a UsageError or EnvironmentNotReady; wrong bytes are a fault.
        return Finding("weights", name, "failed" if isinstance(error, Mismatch) else "absent", error.what, error.hint)
    finally:
        model.close()
    return Finding("weights", name, "ok", f"sha256 {report.checkpoint_sha256}, {report.parameters:,} parameters")


def plugins() -> Iterator[Finding]:
    """Load every plug-in; ours must load, a stranger's broken one is told and stops nothing."""
    from robench import registry

    broken: list[tuple[str, str, str]] = []
    for kind in registry.KINDS:
        statuses = registry.survey(kind)
        bad = [(status.entry.name, status.error, status.entry.origin) for status in statuses if status.error]
        broken += bad
        yield Finding("plug-in", kind, "ok", f"{len(statuses) - len(bad)} of {len(statuses)} load")
    broken += [(recipe.name, recipe.error, recipe.origin) for recipe in registry.recipe_survey() if recipe.error]
    for name, error, origin in broken:
        verdict: Verdict = "failed" if origin.startswith(_OURS) else "absent"
        yield Finding("plug-in", f"{name} is broken", verdict, f"{error}, from {origin}")


def canary(model: str, device: str) -> Iterator[Finding]:
    """Reconstruct a drawn figure with a model and look at the mesh."""
    from robench import registry
    from robench.contracts import Failure

    reconstructor = registry.load("models", model)
    try:
        report = reconstructor.open(device)
        (result,) = reconstructor.reconstruct([canary_request()])
    except RobenchError as error:
        yield Finding("canary", model, "failed", str(error))
        return
    finally:
        reconstructor.close()
    if isinstance(result, Failure):
        yield Finding("canary", model, "failed", f"{result.kind}: {result.message}")
        return
    yield _look_at(model, result.mesh, report)


def _look_at(model: str, mesh: Any, report: Any) -> Finding:
    import numpy as np

    if mesh.is_empty or not np.isfinite(mesh.vertices).all():
        return Finding("canary", model, "failed", "the mesh is empty or not finite", "look at the checkpoint")
    height = float(np.ptp(mesh.vertices[:, 1]))
    detail = (
        f"{len(mesh.vertices)} vertices, {height:.0f} cm tall (drawn {CANARY_HEIGHT:.0f} cm), on {report.device}, "
        f"checkpoint {report.checkpoint_sha256[:8]}"
    )
    return Finding("canary", model, "ok", detail)


CANARY_HEIGHT = 170.0
"""Centimetres, head to feet, of the figure that `canary_request` draws."""


def canary_request() -> Any:
    """Draw a person of capsules, 512 x 512, front view, lit from the upper left, and return it as a request."""
    import numpy as np

    from robench.contracts import Camera, Request

    size, scale = 512, 2.5
    centre = (size - 1) / 2
    columns, lines = np.meshgrid(np.arange(size), np.arange(size))
    x, y = (columns - centre) / scale, (centre - lines) / scale
    top = CANARY_HEIGHT / 2
    limbs = [  # x0, y0, x1, y1, radius (centimetres), colour
        (0.0, top - 13, 0.0, top - 11, 11.0, (214, 170, 140)),
        (0.0, top - 24, 0.0, top - 20, 5.5, (214, 170, 140)),
        (-12.0, top - 34, 12.0, top - 34, 8.0, (60, 90, 160)),
        (0.0, top - 40, 0.0, -2.0, 15.0, (60, 90, 160)),
        *((side * 8.0, -10.0, side * 12.0, -top + 8, 8.0, (70, 70, 80)) for side in (-1, 1)),
        *((side * 17.0, top - 34, side * 28.0, -5.0, 5.0, (60, 90, 160)) for side in (-1, 1)),
    ]
    image, height = np.zeros((size, size, 3)), np.zeros((size, size))
    for x0, y0, x1, y1, radius, colour in limbs:
        ax, ay = x1 - x0, y1 - y0
        t = np.clip(((x - x0) * ax + (y - y0) * ay) / (ax * ax + ay * ay), 0, 1)
        dx, dy = x - x0 - t * ax, y - y0 - t * ay
        z = np.sqrt(np.maximum(radius**2 - dx**2 - dy**2, 0))
        front = z > height
        light = np.clip((-0.4 * dx + 0.5 * dy + 0.77 * z) / radius, 0.15, 1)
        image[front] = (light[..., None] * np.asarray(colour))[front]
        height[front] = z[front]
    camera = Camera(np.eye(4), scale, (centre, centre), size, size)
    return Request("canary", image.astype(np.uint8), (height > 0).astype(np.float32), camera)
