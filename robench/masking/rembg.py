"""Maskers that look: rembg's U²-Net family, and our own U²-Net_p run through rembg's session for custom networks.

rembg does the work (resizing, normalisation, the network, the mask at the picture's size). robench adds what a
measurement needs: weights are never downloaded silently and are checked, the device really used is returned, thread
counts are fixed, and a *blank* answer stays blank. rembg stretches the network's map to [0, 1] by its own minimum and
maximum, so a picture in which the network sees nobody would come back as amplified noise (or 0/0). The raw map is read
beside rembg's mask; where its peak is below one half, nobody was found and the mask is all zero.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Card, Image, Mask
from robench.errors import EnvironmentNotReady, SampleFailure, UsageError
from robench.masking.given import MaskSource
from robench.masking.weights import SHIPPED, Network, find_weights, session_class
from robench.masking.weights import fetch as _fetch

BLANK_BELOW = 0.5
"""A raw map (probability of person) that nowhere reaches this is a blank mask."""

_U2NET = "Qin et al., U²-Net, Pattern Recognition 2020"
_DUTS = "DUTS-TR (10,553 photographs of salient objects)"
_PUBLISHED = (
    Network(
        "u2net", "u2net", "md5:60024c5c889badc19c04ad937298a77b", "Apache-2.0", _DUTS, _U2NET,
        "U²-Net for salient objects, 44 million parameters",
    ),
    Network(
        "u2netp", "u2netp", "md5:8e83ca70e441ab06c318d82300c84806", "Apache-2.0", _DUTS, _U2NET,
        "U²-Net_p for salient objects, 1.1 million parameters",
    ),
    Network(
        "u2net_human_seg", "u2net_human_seg", "md5:c09ddc2e0104f800e3e1bb4652583d1f", "Apache-2.0",
        "Supervisely Person", _U2NET, "U²-Net for people",
    ),
    Network(
        "silueta", "silueta", "md5:55e59e0d8062d2f5d013f4725ee84782", "Apache-2.0", _DUTS, _U2NET,
        "U²-Net, its weights shrunk to 43 MB",
    ),
    Network(
        "isnet-general-use", "isnet-general-use", "md5:fc16ebd8b0c10d971d3513d564d01e29", "NOASSERTION",
        "DIS5K (non-commercial terms) and more", "Qin et al., Dichotomous Image Segmentation, ECCV 2022",
        "IS-Net for any object, input 1024x1024", side=1024,
    ),
)  # fmt: skip


def networks() -> Mapping[str, Network]:
    """Return every masking network by name; ours carries what its training wrote beside its weights."""
    record = _record(SHIPPED / "u2netp-anny.json")
    ours = Network(
        "u2netp-anny",
        "u2net_custom",
        f"sha256:{record.get('sha256', '')}",
        "Apache-2.0",
        "composites of anny-humans (rendered people only)",
        f"topology: {_U2NET}; training: ours",
        "U²-Net_p trained on rendered people, comes with robench",
        shipped=True,
        facts=record,
    )
    return {network.name: network for network in (*_PUBLISHED, ours)}


def _record(path: Path) -> dict[str, Any]:
    """Read the JSON that the training wrote beside the weights; empty before the first training."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def fetch(name: str, folder: Path | None = None) -> Path:
    """Download one network's weights on the user's wish; see `robench.masking.weights.fetch`.

    Raises:
        UsageError: If there is no such network, or the folder cannot be made.
        EnvironmentNotReady: If the download fails.
        Mismatch: If the file is not the published one.
    """
    known = networks()
    if name not in known:
        raise UsageError(f"There are no weights named '{name}'", expected="one of " + ", ".join(sorted(known)))
    return _fetch(known[name], folder)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What a network said about one picture.

    Attributes:
        mask: (H, W) float32 in [0, 1]; all zero if blank.
        peak: Largest value of the network's raw map, before rembg stretches it; 0 for a picture of one flat colour,
            which is not sent to the network at all.
        blank: True if nobody was found.
    """

    mask: Mask
    peak: float
    blank: bool


class RembgMasker:
    """One network of rembg's family.

    Args:
        name: One of `networks`.
        threads: CPU threads within one operator. Fixed, because results must not hang on the machine's core count.
    """

    source: MaskSource = "predicted"

    def __init__(self, name: str, threads: int = 2) -> None:
        self.network = networks()[name]
        self.threads = threads
        self._session: Any = None
        self._tap: _Tap | None = None
        self.card = Card(
            name=name,
            version="1",
            summary=self.network.summary,
            licence=self.network.licence,
            reference=self.network.reference,
            extra={
                "source": "predicted",
                "input_px": self.network.side,
                "trained_on": self.network.trained_on,
                "weights": self.network.file,
                "weights_hash": self.network.digest,
                "values": f"soft, as rembg gives it; all zero where the raw map's peak is below {BLANK_BELOW}",
                "alpha_matting": False,
                **(self.network.facts or {}),
            },
        )

    def open(self, device: str) -> str:
        """Load the network once.

        Args:
            device: ``cpu``, ``cuda``, or ``auto`` (CUDA if it works, else CPU).

        Returns:
            ``cpu`` or ``cuda``: where the network really runs.

        Raises:
            UsageError: If the device is none of the three.
            EnvironmentNotReady: If the weights are missing, or CUDA was asked for and cannot be used.
            Mismatch: If the weights are not the published ones.
        """
        if device not in ("cpu", "cuda", "auto"):
            raise UsageError(f"A masker cannot run on '{device}'", expected="cpu, cuda or auto")
        self.close()
        path = find_weights(self.network)
        session = None
        if device != "cpu" and _cuda_listed():
            session = self._started(path, cuda=True)
            if "CUDAExecutionProvider" not in session.inner_session.get_providers():
                session = None  # onnxruntime fell back: the provider is installed, its CUDA libraries are not
        if device == "cuda" and session is None:
            raise EnvironmentNotReady(
                f"The masker '{self.card.name}' cannot run on CUDA",
                got="onnxruntime with " + ", ".join(_providers()),
                expected="CUDAExecutionProvider and a CUDA device it can open",
                hint='pip install "robench[gpu]", or --device cpu',
            )
        used = "cpu" if session is None else "cuda"
        self._session = session or self._started(path, cuda=False)
        self._session.inner_session = self._tap = _Tap(self._session.inner_session)
        return used

    def _started(self, path: Path, *, cuda: bool) -> Any:
        """Return a rembg session on our own file, with fixed threads and providers."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        providers: list[Any] = ["CPUExecutionProvider"]
        if cuda:
            # A fixed algorithm without TF32: the same picture gives the same mask on every call.
            providers.insert(0, ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "DEFAULT", "use_tf32": "0"}))
        base = session_class(self.network)
        local = {
            # The checked file instead of rembg's lookup, which downloads, and refuses files outside its own folders.
            "download_models": classmethod(lambda cls, *args, **kwargs: str(path)),
            # `open` compares the providers itself; rembg's warning cannot print providers that have options.
            "_warn_on_provider_fallback": lambda self, requested: None,
        }
        kind = type(base.__name__, (base,), local)
        return kind(self.network.session, options, providers=providers, model_path=str(path))

    def segment(self, image: Image) -> Segmentation:
        """Find the person and say how sure the network was.

        Args:
            image: (H, W, 3) uint8 sRGB.

        Raises:
            RuntimeError: If the masker is not open.
            SampleFailure: If the network gives numbers that are not finite.
        """
        if self._session is None or self._tap is None:
            raise RuntimeError(f"the masker '{self.card.name}' is not open")
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"a picture is (H, W, 3) uint8, got {image.shape} {image.dtype}")
        if image.min() == image.max():
            return Segmentation(np.zeros(image.shape[:2], np.float32), 0.0, True)
        from PIL import Image as Pictures

        with np.errstate(divide="ignore", invalid="ignore"):  # rembg divides by the range of the map, which may be 0
            picture = self._session.predict(Pictures.fromarray(image))[0]
        raw = self._tap.first
        if not np.isfinite(raw).all():
            raise SampleFailure("failed", f"the masker '{self.card.name}' gave numbers that are not finite")
        peak = float(raw.max())
        if peak < BLANK_BELOW:
            return Segmentation(np.zeros(image.shape[:2], np.float32), peak, True)
        return Segmentation(np.asarray(picture, np.float32) / np.float32(255), peak, False)

    def mask(self, image: Image) -> Mask:
        """Return the (H, W) float32 mask in [0, 1] of `segment`; errors as there."""
        return self.segment(image).mask

    def close(self) -> None:
        """Free the network."""
        self._session = self._tap = None


class _Tap:
    """An onnxruntime session that remembers its first output, which rembg does not hand out unstretched."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.first: NDArray[np.float32] = np.zeros(0, np.float32)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        outputs = self._inner.run(*args, **kwargs)
        self.first = outputs[0]
        return outputs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _providers() -> list[str]:
    import onnxruntime

    return list(onnxruntime.get_available_providers())


def _cuda_listed() -> bool:
    """Return True if this onnxruntime was built for CUDA; makes the CUDA libraries of pip's wheels findable."""
    import onnxruntime

    listed = "CUDAExecutionProvider" in _providers()
    if listed:
        onnxruntime.preload_dlls()
    return listed


def u2net() -> RembgMasker:
    """Make the masker ``u2net``."""
    return RembgMasker("u2net")


def u2netp() -> RembgMasker:
    """Make the masker ``u2netp``."""
    return RembgMasker("u2netp")


def u2net_human_seg() -> RembgMasker:
    """Make the masker ``u2net_human_seg``."""
    return RembgMasker("u2net_human_seg")


def silueta() -> RembgMasker:
    """Make the masker ``silueta``."""
    return RembgMasker("silueta")


def isnet_general_use() -> RembgMasker:
    """Make the masker ``isnet-general-use``."""
    return RembgMasker("isnet-general-use")


def u2netp_anny() -> RembgMasker:
    """Make the masker ``u2netp-anny``, which comes with robench."""
    return RembgMasker("u2netp-anny")
