"""Depth estimated from the picture alone, by a DPT of ``transformers`` whose weights the user brings.

Ranftl et al., Vision Transformers for Dense Prediction, ICCV 2021. Such a network says how near things are relative to
each other: inverse depth up to an unknown scale and shift. Metres are made of it by a declared convention, not by
knowledge: the nearest thing stands at `NEAR_M`, the farthest at `FAR_M`, and inverse depth is linear between.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any, Final

import numpy as np

from robench.contracts import Depth, Image
from robench.errors import EnvironmentNotReady, UsageError
from robench.io.files import json_text, read_json, sha256_bytes, sha256_file
from robench.io.weights import listed

VERSION: Final = "1"
"""Goes up when the depth of the same weights changes."""
NEAR_M: Final = 3.0
FAR_M: Final = 10.0
_ENDS: Final = (2.0, 98.0)
"""Percentiles that stand for the farthest and the nearest: single pixels are no measure."""
_CONFIG: Final = "config.json"
_FETCH: Final = "hf download Intel/dpt-large --local-dir DIR, then --depth-weights DIR"
_LARGEST: Final = 4096
_SIZE, _MULTIPLE, _MEAN, _STD = 384, 32, 0.5, 0.5
"""What the published DPT expects, where the folder does not say (``preprocessor_config.json``)."""


def weights_sha256(folder: Path) -> str:
    """Return a hash of the network in a folder: its configuration and every file of weights.

    Raises:
        EnvironmentNotReady: If there is no such folder, no configuration or no weights in it.
    """
    files = [path for path in sorted(folder.glob("*")) if path.suffix in (".json", ".safetensors", ".bin")]
    if not (folder / _CONFIG).is_file() or all(path.suffix == ".json" for path in files):
        raise EnvironmentNotReady(
            f"There is no depth network in {folder}",
            expected=f"{_CONFIG} and model.safetensors, as transformers saves a DPTForDepthEstimation",
            hint=_FETCH,
        )
    return sha256_bytes(json_text({path.name: sha256_file(path) for path in files}).encode())


def require_transformers() -> None:
    """Check that the library is there; imports nothing.

    Raises:
        EnvironmentNotReady: If it is not.
    """
    if importlib.util.find_spec("transformers") is None:
        raise EnvironmentNotReady(
            "Depth is estimated with the library transformers, which is not installed",
            hint="pip install 'robench[priors]', or give depth files, or --depth plane",
        )


@functools.lru_cache(maxsize=1)
def estimator(folder: Path) -> DptDepth:
    """Return the network of a folder, loaded once a process; errors as of `DptDepth`."""
    return DptDepth(folder)


class DptDepth:
    """A DPT, loaded strictly, on the CPU.

    Args:
        folder: As ``save_pretrained`` writes it; nothing is fetched from a network.

    Raises:
        EnvironmentNotReady: If ``transformers`` or the weights are not there, or do not fit each other.
        UsageError: If the folder is of another network.
    """

    def __init__(self, folder: Path) -> None:
        require_transformers()
        said = read_json(folder / _CONFIG)
        kind = said.get("model_type") if isinstance(said, dict) else type(said).__name__
        if kind != "dpt":
            raise UsageError(f"{folder} holds another network", got=f"model_type {kind}", expected="dpt", hint=_FETCH)
        from transformers import DPTForDepthEstimation

        try:
            model, report = DPTForDepthEstimation.from_pretrained(
                str(folder), local_files_only=True, weights_only=True, output_loading_info=True
            )
        except Exception as error:  # a damaged or hostile file of weights fails in as many ways as it has bytes
            raise EnvironmentNotReady(
                f"The depth network in {folder} cannot be loaded", got=str(error)[:200], expected="a DPT", hint=_FETCH
            ) from error
        wrong = {kind: sorted(map(str, report.get(kind) or ())) for kind in ("missing_keys", "mismatched_keys")}
        if any(wrong.values()):
            got = "; ".join(f"{kind.replace('_', ' ')} {listed(keys)}" for kind, keys in wrong.items() if keys)
            raise EnvironmentNotReady(f"The weights in {folder} do not fit their configuration", got=got, hint=_FETCH)
        self._model = model.eval()
        self._prepare = _Preparation(folder)

    def estimate(self, image: Image) -> Depth:
        """Return the depth of a picture.

        Args:
            image: (H, W, 3) uint8 sRGB.

        Returns:
            (H, W) float32 metres between `NEAR_M` and `FAR_M`, by this module's convention.
        """
        import cv2
        import torch

        with torch.inference_mode():
            inverse = self._model(pixel_values=torch.from_numpy(self._prepare(image))).predicted_depth
        height, width = image.shape[:2]
        values = np.squeeze(inverse.float().cpu().numpy()).astype(np.float32)
        return metres_of(cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC))


def metres_of(inverse: Any) -> Depth:
    """Turn relative inverse depth into metres by this module's convention.

    Args:
        inverse: (H, W), larger is nearer; any scale and shift.

    Returns:
        (H, W) float32 metres between `NEAR_M` and `FAR_M`; `NEAR_M` everywhere where all is equally near.

    Raises:
        ValueError: If a value is not finite.
    """
    values = np.asarray(inverse, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("the depth network gave values that are not finite")
    low, high = np.percentile(values, _ENDS)
    nearness = np.clip((values - low) / (high - low), 0, 1) if high > low else np.ones_like(values)
    return (1 / (1 / FAR_M + nearness * (1 / NEAR_M - 1 / FAR_M))).astype(np.float32)


class _Preparation:
    """Resizes and normalises as ``preprocessor_config.json`` says. Our own, since theirs may want torchvision."""

    def __init__(self, folder: Path) -> None:
        path = folder / "preprocessor_config.json"
        said: Any = read_json(path) if path.is_file() else {}
        try:
            size = said.get("size", _SIZE)
            sides = (size.get("height", _SIZE), size.get("width", _SIZE)) if isinstance(size, dict) else (size, size)
            self.height, self.width = (int(side) for side in sides)
            self.keep = bool(said.get("keep_aspect_ratio", False))
            self.multiple = max(1, int(said.get("ensure_multiple_of", _MULTIPLE)))
            self.mean, self.std = (
                np.broadcast_to(np.asarray(said.get(key, default), np.float32), (3,))
                for key, default in (("image_mean", _MEAN), ("image_std", _STD))
            )
            sound = all(1 <= number <= _LARGEST for number in (self.height, self.width, self.multiple))
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UsageError(f"{path} is not understood", got=str(error)) from error
        if not sound:
            got = f"{self.width}x{self.height} pixels, multiples of {self.multiple}"
            raise UsageError(f"{path} asks for pictures of no sensible size", got=got, expected=f"up to {_LARGEST}")

    def __call__(self, image: Image) -> Any:
        """Return (1, 3, h, w) float32."""
        import cv2

        down, across = self.height / image.shape[0], self.width / image.shape[1]
        if self.keep:
            # As the published code: the side that changes least decides for both.
            down = across = down if abs(1 - down) < abs(1 - across) else across
        height, width = (
            max(self.multiple, round(side * scale / self.multiple) * self.multiple)
            for side, scale in zip(image.shape[:2], (down, across), strict=True)
        )
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32) / 255
        return np.ascontiguousarray(((small - self.mean) / self.std).transpose(2, 0, 1)[None])
