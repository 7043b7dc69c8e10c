"""Images and masks: any sane picture file in, one declared layout out.

Reading applies the EXIF rotation, scales 16-bit samples to 8 bits by rounding (not by cutting the low byte), expands
grey, palette and CMYK to RGB, takes the first frame of a multi-page file, and ignores ICC profiles: the numbers are
taken as sRGB. Where a picture has alpha it is composited on `BACKGROUND`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Image, Mask
from robench.errors import ExitCode, SampleFailure, UsageError, printable
from robench.io._png import encode_png
from robench.io.files import sha256_bytes, write_bytes_atomic

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

BACKGROUND: Final = (0, 0, 0)
"""The sRGB colour that transparent pixels are composited on."""
MIN_SIDE: Final = 32
MAX_SIDE: Final = 16384
MAX_PIXELS: Final = 1 << 27
"""134 million: a few hundred kilobytes can ask for any number, and each costs up to 24 bytes here."""
SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""File name suffixes (lower case) that are taken for pictures."""

PictureFormat = Literal["png", "webp-lossless"]
STORED: Final[dict[PictureFormat, str]] = {"png": ".png", "webp-lossless": ".webp"}
"""Formats in which pictures are stored, all without loss, and their suffixes."""

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
# What a turn of the camera (EXIF 0x0112) asks of the pixels, as NumPy operations on (H, W, ...).
_ORIENTATION = 0x0112


class UnreadableInput(SampleFailure):
    """A picture, depth map or mesh that cannot be used. A failed row in a run, a usage error (exit 2) on its own.

    Args:
        path: The file.
        reason: What is wrong with it, to follow "because".
    """

    exit_code = ExitCode.USAGE

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__("failed", f"{Path(path).name} cannot be used because {reason}")
        self.path = Path(path)
        self.reason = printable(reason)


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) as `read_image` will give it, from the file's header alone.

    Raises:
        UnreadableInput: If the file is missing, empty or not a picture.
    """
    with _opened(path) as picture:
        width, height = picture.size
        with _damage_told(path):
            turned = picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


def may_have_alpha(path: Path) -> bool:
    """Return True if the file's header announces transparency; the pixels may be opaque all the same.

    Raises:
        UnreadableInput: If the file is missing, empty or not a picture.
    """
    with _opened(path) as picture, _damage_told(path):
        return bool(picture.has_transparency_data)


def read_image(path: Path) -> Image:
    """Read a picture.

    Args:
        path: A PNG, JPEG, WebP, BMP or TIFF file.

    Returns:
        (H, W, 3) uint8 sRGB, at least `MIN_SIDE` and at most `MAX_SIDE` a side, at most `MAX_PIXELS`; alpha composited
        on `BACKGROUND`.

    Raises:
        UnreadableInput: If the file is missing, empty, truncated, not a picture, too small or too large.
    """
    return read_rgba(path)[0]


def read_rgba(path: Path) -> tuple[Image, Mask | None]:
    """Read a picture and its alpha channel.

    Returns:
        (H, W, 3) uint8 sRGB composited on `BACKGROUND`, and (H, W) float32 alpha in [0, 1], or None where the file has
        no alpha or is opaque everywhere.

    Raises:
        UnreadableInput: As `read_image`.
    """
    rgba = _decode(path, smallest=MIN_SIDE)
    if rgba.shape[2] == 3:
        return rgba, None
    alpha = (rgba[..., 3:].astype(np.float32)) / np.float32(255)
    colour = rgba[..., :3] * alpha + np.asarray(BACKGROUND, np.float32) * (1 - alpha)
    return np.rint(colour).astype(np.uint8), alpha[..., 0]


def read_mask(path: Path, shape: tuple[int, int] | None = None) -> Mask:
    """Read a mask: the alpha channel where there is one that is not opaque everywhere, else the luma (BT.601).

    Args:
        path: A picture file; white is the person.
        shape: (H, W) that the mask must have.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        UnreadableInput: If the file cannot be read or has another size (masks are never resized silently).
    """
    rgba = _decode(path, smallest=1)
    if shape is not None and rgba.shape[:2] != tuple(shape):
        found, wanted = (f"{w}x{h}" for h, w in (rgba.shape[:2], shape))
        raise UnreadableInput(path, f"the mask is {found} pixels but its image is {wanted}")
    if rgba.shape[2] == 4:
        values = rgba[..., 3]
    else:
        # Integer luma as Pillow's "L" conversion, so that masks read like PIFu's own loader reads them.
        red, green, blue = (rgba[..., k].astype(np.uint32) for k in range(3))
        values = ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).astype(np.uint8)
    return values.astype(np.float32) / np.float32(255)


def check_readable(path: Path) -> None:
    """Decode a picture and forget it.

    Raises:
        UnreadableInput: If it is missing, empty, damaged or truncated.
    """
    _decode(path, smallest=1)


def write_png(path: Path, image: NDArray[Any]) -> str:
    """Write an image (H, W[, 3 or 4]) uint8 or uint16 as PNG, atomically; the same pixels give the same bytes.

    Returns:
        The SHA-256 of the file.

    Raises:
        ValueError: If the array is of another shape or type.
        UsageError, EnvironmentNotReady: If the file cannot be written.
    """
    data = encode_png(image)
    write_bytes_atomic(path, data)
    return sha256_bytes(data)


def encode_picture(image: Image, picture_format: PictureFormat) -> bytes:
    """Return a picture as a file in one of `STORED`; the same pixels give the same bytes by the same codec.

    Args:
        image: (H, W, 3) uint8 sRGB.
        picture_format: ``png``, or ``webp-lossless``: about half the size for twice the time.

    Raises:
        SampleFailure: If the format cannot hold the picture (WebP: more than 16383 pixels on a side).
    """
    if picture_format == "png":
        return encode_png(image)
    from io import BytesIO

    from PIL import Image as Pillow

    buffer = BytesIO()
    try:
        # Effort 0: 5 ms a 512 x 512 picture and 4 % larger than the best, which takes six times as long.
        Pillow.fromarray(image).save(buffer, "WEBP", lossless=True, quality=0, method=0)
    except (OSError, ValueError) as error:
        raise SampleFailure("failed", f"the picture cannot be stored as WebP: {error}") from error
    return buffer.getvalue()


def stored_format(name: str) -> PictureFormat:
    """Return a format that a user named.

    Raises:
        UsageError: If there is no such format.
    """
    for known in STORED:
        if known == name:
            return known
    raise UsageError("Pictures cannot be stored so", got=f"'{name}'", expected=" or ".join(STORED), hint="--format")


def encode_mask(mask: NDArray[Any]) -> bytes:
    """Return a (H, W) mask in [0, 1] as an 8-bit grey PNG (steps of 1/255).

    Raises:
        ValueError: If a value is outside [0, 1] or not a number.
    """
    if not (mask.min() >= 0 and mask.max() <= 1):
        raise ValueError("a mask has values in [0, 1]")
    return encode_png(np.rint(np.asarray(mask, np.float64) * 255).astype(np.uint8))


def write_mask(path: Path, mask: NDArray[Any]) -> str:
    """Write a (H, W) mask in [0, 1] as an 8-bit grey PNG (steps of 1/255); returns the SHA-256 of the file.

    Raises:
        ValueError: If a value is outside [0, 1] or not a number.
        UsageError, EnvironmentNotReady: If the file cannot be written.
    """
    data = encode_mask(mask)
    write_bytes_atomic(path, data)
    return sha256_bytes(data)


def pixels_sha256(image: NDArray[Any]) -> str:
    """Return a SHA-256 over shape, type and pixel values: the same for every file format and compressor."""
    array = np.ascontiguousarray(image)
    found = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    found.update(array.data)  # no copy of the pixels
    return found.hexdigest()


def _decode(path: Path, smallest: int) -> NDArray[np.uint8]:
    """Return (H, W, 3 or 4) uint8, upright; four channels only if some pixel is not opaque."""
    with _opened(path) as picture:
        _check_size(path, picture.size, smallest)
        deep = any(";16" in str(tile) for tile in getattr(picture, "tile", ())) or picture.mode.startswith("I;16")
        with _damage_told(path):
            picture.load()
            turn = picture.getexif().get(_ORIENTATION, 1)
            array = _deep(path, picture) if deep else _shallow(path, picture)
    if array.shape[2] == 4 and array[..., 3].min() == 255:
        array = array[..., :3]
    return np.ascontiguousarray(_upright(array, turn))


@contextlib.contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except UnreadableInput:
        raise
    except MemoryError as error:
        raise UnreadableInput(path, "it is too large for the memory there is; resize it first") from error
    except Exception as error:  # the decoders of five formats raise whatever a damaged byte leads them to
        raise UnreadableInput(path, f"it is damaged or truncated ({error})") from error


def _opened(path: Path) -> PilImage:
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    try:
        _quieten()
        if Path(path).exists() and not Path(path).is_file():  # to open a pipe waits for its writer
            raise UnreadableInput(path, "it is no file but a directory, a pipe or a device")
        return Pillow.open(path, formats=_FORMATS)
    except FileNotFoundError:
        raise UnreadableInput(path, "there is no such file") from None
    except Pillow.DecompressionBombError as error:
        raise UnreadableInput(path, f"it has too many pixels ({error}); resize it first") from error
    except UnidentifiedImageError:
        empty = Path(path).is_file() and Path(path).stat().st_size == 0
        reason = (
            "it is empty (0 bytes)"
            if empty
            else "it is not a PNG, JPEG, WebP, BMP or TIFF picture, or its header is damaged"
        )
        raise UnreadableInput(path, reason) from None
    except UnreadableInput:
        raise
    except Exception as error:  # as in `_damage_told`: of the header
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableInput(path, f"it cannot be read ({reason.lower()})") from error


@functools.cache
def _quieten() -> None:
    # Pillow warns about what is refused here in a sentence (damage) or allowed on purpose (up to MAX_SIDE). Once, and
    # these alone: to catch warnings around each read is not safe where threads read.
    from PIL import Image as Pillow

    warnings.filterwarnings("ignore", category=Pillow.DecompressionBombWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")


def _check_size(path: Path, size: tuple[int, int], smallest: int) -> None:
    width, height = size
    if min(size) < smallest:
        raise UnreadableInput(path, f"it is {width}x{height} pixels, smaller than {smallest} on a side")
    if max(size) > MAX_SIDE:
        raise UnreadableInput(path, f"it is {width}x{height} pixels, larger than {MAX_SIDE} on a side; resize it first")
    if width * height > MAX_PIXELS:
        millions = MAX_PIXELS // 10**6
        raise UnreadableInput(path, f"it has {width}x{height} pixels, more than {millions} million; resize it first")


def _shallow(path: Path, picture: PilImage) -> NDArray[np.uint8]:
    if picture.mode in ("I", "F"):
        raise UnreadableInput(
            path, f"it has 32-bit samples (mode {picture.mode}), whose white is not declared; save it with 8 or 16 bits"
        )
    alpha = picture.has_transparency_data
    return np.asarray(picture.convert("RGBA" if alpha else "RGB"))


def _deep(path: Path, picture: PilImage) -> NDArray[np.uint8]:
    """Read 16-bit samples whole (Pillow cuts colour to the high byte) and round them to 8 bits."""
    if picture.mode.startswith("I;16"):
        deep = np.asarray(picture).astype(np.uint32)[..., None]
    else:
        import cv2

        found = cv2.imdecode(np.frombuffer(Path(path).read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        if found is None or found.dtype != np.uint16:  # a layout OpenCV does not know: Pillow's high byte it is
            return _shallow(path, picture)
        order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[1 if found.ndim == 2 else found.shape[2]]
        deep = (found[..., None] if found.ndim == 2 else found)[..., order].astype(np.uint32)
    shallow = ((deep + 128) // 257).astype(np.uint8)
    return np.repeat(shallow, 3, axis=2) if shallow.shape[2] == 1 else shallow


def _upright(array: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo an EXIF orientation 1..8; other values are ignored, as every viewer does."""
    if orientation in (5, 6, 7, 8):
        array = np.swapaxes(array, 0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array
