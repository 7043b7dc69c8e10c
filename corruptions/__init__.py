"""What can go wrong with a photograph: corruptions in five severities, and the recipes that combine them.

NumPy in, NumPy out::

    corruptions.names("noise")
    foggy = corruptions.corrupt(image, "fog_3d", severity=3, seed=0, depth=depth)

Underneath, a corruption is a pure function on an image in two steps: ``sample`` draws JSON-able parameters, ``apply``
makes the picture from image, parameters and depth alone, so that a manifest replays every byte::

    fog = corruptions.load("fog_3d")
    params = fog.sample(2, image.shape[:2], rng)
    foggy = fog.apply(image, params, corruptions.Aux(depth=depth)).image
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from corruptions._base import SEVERITIES, Aux, Card, Corrupted, MissingInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from corruptions._scene import CameraLike, SceneLike

__all__ = ["NAMES", "SEVERITIES", "Aux", "Card", "Corrupted", "MissingInput", "corrupt", "load", "names"]

NAMES = {
    "avif": "corruptions.phone.avif:Avif",
    "bit_error": "corruptions.bit_error:BitError",
    "brightness": "corruptions.common.brightness:Brightness",
    "camera_pitch": "corruptions.camera_pitch:CameraPitch",
    "camera_roll": "corruptions.camera_roll:CameraRoll",
    "color_quant": "corruptions.color_quant:ColorQuant",
    "contrast": "corruptions.common.contrast:Contrast",
    "defocus_blur": "corruptions.common.defocus_blur:DefocusBlur",
    "elastic_transform": "corruptions.common.elastic_transform:ElasticTransform",
    "far_focus": "corruptions.far_focus:FarFocus",
    "field_of_view": "corruptions.field_of_view:FieldOfView",
    "flash": "corruptions.flash:Flash",
    "fog": "corruptions.common.fog:Fog",
    "fog_3d": "corruptions.fog_3d:Fog3D",
    "frost": "corruptions.common.frost:Frost",
    "gaussian_blur": "corruptions.common.gaussian_blur:GaussianBlur",
    "gaussian_noise": "corruptions.common.gaussian_noise:GaussianNoise",
    "glass_blur": "corruptions.common.glass_blur:GlassBlur",
    "h265_abr": "corruptions.h265_abr:H265Abr",
    "h265_crf": "corruptions.h265_crf:H265Crf",
    "impulse_noise": "corruptions.common.impulse_noise:ImpulseNoise",
    "iso_noise": "corruptions.iso_noise:IsoNoise",
    "jpeg_compression": "corruptions.common.jpeg_compression:JpegCompression",
    "lens_dirt": "corruptions.phone.lens_dirt:LensDirt",
    "low_light": "corruptions.low_light:LowLight",
    "motion_blur": "corruptions.common.motion_blur:MotionBlur",
    "multi_illumination": "corruptions.multi_illumination:MultiIllumination",
    "near_focus": "corruptions.near_focus:NearFocus",
    "occlusion": "corruptions.occlusion:Occlusion",
    "pixelate": "corruptions.common.pixelate:Pixelate",
    "rolling_shutter": "corruptions.phone.rolling_shutter:RollingShutter",
    "saturate": "corruptions.common.saturate:Saturate",
    "scale": "corruptions.scale:Scale",
    "shadow": "corruptions.shadow:Shadow",
    "shot_noise": "corruptions.common.shot_noise:ShotNoise",
    "snow": "corruptions.common.snow:Snow",
    "social_media": "corruptions.phone.social_media:SocialMedia",
    "spatter": "corruptions.common.spatter:Spatter",
    "speckle_noise": "corruptions.common.speckle_noise:SpeckleNoise",
    "truncation": "corruptions.phone.truncation:Truncation",
    "video_call": "corruptions.phone.video_call:VideoCall",
    "view_jitter": "corruptions.view_jitter:ViewJitter",
    "webp": "corruptions.phone.webp:Webp",
    "xy_motion_blur": "corruptions.xy_motion_blur:XyMotionBlur",
    "z_motion_blur": "corruptions.z_motion_blur:ZMotionBlur",
    "zoom_blur": "corruptions.common.zoom_blur:ZoomBlur",
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


def names(family: str | None = None) -> list[str]:
    """Return the names of the corruptions, in alphabetical order.

    Args:
        family: Only those of a family: noise, blur, weather, digital, sensor, focus, motion, codec, camera, ...

    Raises:
        ValueError: If there is no such family; the message lists them.
    """
    from corruptions import _library

    return _library.names(family)


def corrupt(
    image: NDArray[np.uint8],
    corruption: Any,
    severity: int = 3,
    seed: int = 0,
    *,
    key: str | None = None,
    depth: NDArray[Any] | None = None,
    mask: NDArray[Any] | None = None,
    scene: SceneLike | None = None,
    camera: CameraLike | None = None,
) -> NDArray[np.uint8]:
    """Return a corrupted picture; the input is left as it is, and so is every global state.

    The bytes depend on image, corruption@version, severity, seed and key alone. What is drawn comes from the
    generator of ``sha256("robench/1|seed|key|corruption@version")``, so that with a sample's id for `key` the
    result is the picture that ``robench corrupt`` writes for that sample. Without a key the pixels stand in for it:
    different pictures get different noise, equal ones the same.

    Args:
        image: uint8 sRGB, at least 32 pixels on both sides: grey (H, W) or (H, W, 1), colour (H, W, 3), or colour with
            alpha (H, W, 4). Grey is corrupted as colour and the green channel is returned; alpha stays, and goes along
            with pixels that move.
        corruption: A name of `names`, or a corruption made with options, e.g. ``Fog3D(airlight="mean")``.
        severity: 1 to 5.
        seed: A whole number.
        key: What names the picture, e.g. the id of a sample.
        depth: (H, W) floating-point metres along the viewing axis, ``+inf``, NaN or 0 where there is none; some
            corruptions need it.
        mask: (H, W) mask of the person, bool, from 0 to 1 or in whole numbers to 255; some corruptions use it.
        scene: The mesh behind the picture; some corruptions use it.
        camera: The camera that took the picture; some corruptions use it.

    Returns:
        An array of the image's shape and type.

    Raises:
        TypeError: If image, depth, seed or key has the wrong type.
        ValueError: If image, name or severity cannot be.
        MissingInput: If the corruption needs a depth map and there is none (a ValueError, too).
    """
    from corruptions import _library

    aux = _library.beside(depth, mask, scene, camera)
    return _library.run(image, corruption, severity, seed, key, aux).image
