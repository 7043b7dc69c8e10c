"""A stranger's plug-ins, quick and exact, that do wrong when the environment tells them to.

``TOY_FAULTS`` is JSON: sample id, ``masker``, ``picture-SUM`` (masker), ``truth-HEIGHT`` (metric) or ``open`` →
``[what, how often]``, where what is a method of `Faults` and -1 is always. Tries are counted in files of the folder
``TOY_STATE``, so that a process that dies does not forget them; so are the pictures that the model has finished
(``calls``) and the processes that it was opened in (``model-<pid>``). ``TOY_MS`` is the time that a picture takes in
the model. ``TOY_SHA`` is the checkpoint's hash, or a file that holds it. ``TOY_BATCH`` is the largest batch that fits
into memory. While there is a file ``hold`` in ``TOY_STATE``, a model keeps its third picture.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from robench.contracts import Card, Degenerate, Failure, Mesh, OpenReport, Reconstruction
from robench.errors import EnvironmentNotReady, SampleFailure

TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float32)
NOTHING, FEW = object(), object()
FACES = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]], np.int32)


class Faults:
    """What may go wrong; each is called with nothing and may return what the model answers."""

    def hang(self):
        time.sleep(3600)

    def hang_holding_python(self):
        ctypes.PyDLL(None).sleep(3600)  # no other thread of the process runs meanwhile

    def segfault(self):
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(10)

    def killed(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def exit(self):
        os._exit(3)

    def sys_exit(self):
        sys.exit(4)

    def ctrl_c(self):
        raise KeyboardInterrupt

    def raises(self):
        raise ZeroDivisionError("by hand")

    def nobody(self):
        raise SampleFailure("no_detection", "nobody there")

    def memory(self):
        raise MemoryError

    def cuda(self):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def machine(self):
        raise EnvironmentNotReady("the accelerator fell off the bus")

    def fails(self):
        return Failure("no_detection", "nobody there")

    def odd_kind(self):
        return Failure("tired", "tomorrow perhaps")

    def odd_text(self):
        return Failure("failed", "no file caf\udce9.png\n\x1b[31m" + "x" * 500)

    def odd_timings(self):
        return Reconstruction(Mesh(TETRAHEDRON, FACES), frozenset(), {"query": "soon"})

    def nothing(self):
        return NOTHING

    def few(self):
        return FEW

    def empty(self):
        return Reconstruction(Mesh(TETRAHEDRON[:0], FACES[:0]), frozenset())

    def shapeless(self):
        return Reconstruction(Mesh(None, FACES), frozenset())

    def nan(self):
        return Reconstruction(Mesh(TETRAHEDRON * np.float32("nan"), FACES), frozenset())

    def prints(self):
        sys.stdout.write("a model talks\n")
        sys.stdout.flush()
        os.write(1, b"so does its C code\n")


def fault(name: str):
    """Do what ``TOY_FAULTS`` says about a name, if its turn has come."""
    what, often = json.loads(os.environ.get("TOY_FAULTS", "{}")).get(name, (None, 0))
    return getattr(Faults(), what)() if what and (count(name) <= often or often < 0) else None


def count(name: str) -> int:
    """Count a try, for all processes."""
    path = Path(os.environ["TOY_STATE"]) / name
    with open(path, "ab") as handle:
        handle.write(b".")
    return path.stat().st_size


class Toy:
    """A tetrahedron in the mask's box, as deep as the picture is bright."""

    card = Card("toy", "1", "a tetrahedron in the mask's box", extra={"inputs_used": ["image", "mask", "camera"]})
    answered = 0

    def open(self, device, weights=None):
        fault("open")
        count(f"model-{os.getpid()}")
        sha = os.environ.get("TOY_SHA", "c0ffee" * 10)
        return OpenReport("cpu", 0, Path(sha).read_text() if Path(sha).is_file() else sha)

    def reconstruct(self, requests):
        if len(requests) > int(os.environ.get("TOY_BATCH", "1000")):
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        answers = [self._one(request) for request in requests]
        return [None if answer is NOTHING else answer for answer in answers if answer is not FEW]

    def _one(self, request):
        time.sleep(float(os.environ.get("TOY_MS", "0")) / 1000)
        wrong = fault(request.sample_id)
        if wrong is not None:
            return wrong
        count("calls")
        self.answered += 1
        while self.answered > 2 and (Path(os.environ["TOY_STATE"]) / "hold").exists():
            time.sleep(0.02)
        rows, columns = np.nonzero(request.mask > 0.5)
        if len(rows) == 0:
            return Failure("no_detection", "the mask is blank")
        size = np.array([np.ptp(columns) + 1, np.ptp(rows) + 1, request.image.mean()]) / request.camera.scale / 2
        return Reconstruction(Mesh(TETRAHEDRON * size.astype(np.float32), FACES), frozenset({"image", "mask"}))

    def close(self):
        pass


class Dim:
    """Takes light away and adds noise of its own seed."""

    moves_pixels = False
    card = Card("toy_dim", "1", "less light", extra={"severities": {s: {"share": s / 6} for s in range(1, 6)}})

    def sample(self, severity, shape, rng):
        return {"share": severity / 6, "seed": int(rng.integers(1 << 31))}

    def apply(self, image, params, aux):
        noise = np.random.Generator(np.random.PCG64(params["seed"])).normal(0, 4, image.shape)
        dim = np.clip(image * (1 - params["share"]) + noise, 0, 255)
        return SimpleNamespace(image=dim.round().astype(np.uint8), affine=None, notes={})


class Step:
    """Moves the picture aside by whole pixels."""

    moves_pixels = True
    card = Card("toy_step", "1", "a step aside", extra={"severities": {s: {"px": s} for s in range(1, 6)}})

    def sample(self, severity, shape, rng):
        return {"px": severity}

    def apply(self, image, params, aux):
        moved = np.zeros_like(image)
        moved[:, params["px"] :] = image[:, : -params["px"]]
        return SimpleNamespace(image=moved, affine=np.array([[1, 0, params["px"]], [0, 1, 0]], np.float64), notes={})


class Masker:
    """Finds what is red; ``TOY_FAULTS`` may name ``masker``."""

    source = "predicted"
    card = Card("toy_masker", "1", "finds what is red")

    def open(self, device):
        return "cpu"

    def mask(self, image):
        fault("masker")
        fault(f"picture-{int(image.sum())}")
        return (image[..., 0] > 40).astype(np.float32)

    def close(self):
        pass


class Height:
    """Difference of heights."""

    card = Card("toy_height_cm", "1", "difference of heights", extra={"unit": "cm", "direction": "lower"})
    axis = 1

    def __call__(self, scene):
        if scene.prediction is None or scene.truth is None or scene.prediction.is_empty:
            return Degenerate("no mesh")
        fault(f"truth-{np.ptp(scene.truth.vertices[:, 1]):.0f}")
        sizes = [float(np.ptp(mesh.vertices[:, self.axis])) for mesh in (scene.prediction, scene.truth)]
        return abs(sizes[0] - sizes[1])


class Depth(Height):
    """Difference of depths, which depends on the picture's brightness."""

    card = Card("toy_depth_cm", "1", "difference of depths", extra={"unit": "cm", "direction": "lower"})
    axis = 2
