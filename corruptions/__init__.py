"""What can go wrong with a photograph: corruptions in five severities, and the recipes that combine them.

A corruption is a pure function on an image in two steps: ``sample`` draws JSON-able parameters, ``apply`` makes the
picture from image, parameters and depth alone, so that a manifest replays every byte::

    fog = corruptions.load("fog_3d")
    params = fog.sample(2, image.shape[:2], rng)
    foggy = fog.apply(image, params, corruptions.Aux(depth=depth)).image
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from corruptions._base import SEVERITIES, Aux, Card, Corrupted, MissingInput

__all__ = ["NAMES", "SEVERITIES", "Aux", "Card", "Corrupted", "MissingInput", "load"]

NAMES = {
    "bit_error": "corruptions.bit_error:BitError",
    "camera_roll": "corruptions.camera_roll:CameraRoll",
    "color_quant": "corruptions.color_quant:ColorQuant",
    "far_focus": "corruptions.far_focus:FarFocus",
    "fog_3d": "corruptions.fog_3d:Fog3D",
    "gaussian_noise": "corruptions.common.gaussian_noise:GaussianNoise",
    "h265_abr": "corruptions.h265_abr:H265Abr",
    "h265_crf": "corruptions.h265_crf:H265Crf",
    "impulse_noise": "corruptions.common.impulse_noise:ImpulseNoise",
    "iso_noise": "corruptions.iso_noise:IsoNoise",
    "low_light": "corruptions.low_light:LowLight",
    "near_focus": "corruptions.near_focus:NearFocus",
    "shot_noise": "corruptions.common.shot_noise:ShotNoise",
    "speckle_noise": "corruptions.common.speckle_noise:SpeckleNoise",
    "xy_motion_blur": "corruptions.xy_motion_blur:XyMotionBlur",
    "z_motion_blur": "corruptions.z_motion_blur:ZMotionBlur",
    "zoom_blur_2d": "corruptions.zoom_blur_2d:ZoomBlur2D",
}
"""What users type, and where it is: the same lines as the entry points of the group ``robench.corruptions``."""


def load(name: str) -> Any:
    """Return a corruption with its default options.

    Raises:
        ValueError: If there is none of that name.
    """
    if name not in NAMES:
        raise ValueError(f"there is no corruption {name!r}; expected one of {', '.join(NAMES)}")
    module, _, kind = NAMES[name].partition(":")
    return getattr(import_module(module), kind)()
