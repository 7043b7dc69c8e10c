"""Depth and normal maps.

Depth is (H, W) float32 metres along the viewing axis, ``+inf`` where nothing is hit. Normals are (H, W, 3) float32 unit
vectors in the view frame, zero where nothing is hit.
"""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import IO, Any, Final, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Depth
from robench.errors import UsageError
from robench.io._png import encode_png
from robench.io.files import open_regular, read_json, sha256_bytes, write_bytes_atomic
from robench.io.images import MAX_PIXELS, UnreadableInput

DepthUnit = Literal["m", "mm", "1/512m"]
"""Units that a depth PNG may be declared in; ``1/512m`` is the convention of Omnidata and 3DCC."""
STEP: Final = 1 / 8192
"""Depth is stored in steps of 0.12 mm: exact in float32 up to 2 km, and trailing zero bits compress."""
DECLARATION: Final = "depth.json"
"""File beside depth PNGs, or up to two folders above, that declares their unit: ``{"unit": "mm"}``."""

FARTHEST_M: Final = 65_000.0
"""Renderers write 65504, 65535 or 1e10 where they hit nothing; nobody is photographed from that far."""
SUFFIXES: Final = (".npz", ".npy", ".png", ".exr")
"""File name suffixes (lower case) of depth maps."""

MAX_BYTES: Final = 8 * MAX_PIXELS
"""Of an array: a float64 map of the largest picture."""

_METRES = {"m": 1.0, "mm": 1e-3, "1/512m": 1 / 512}
_SATURATED = 65535
_EPOCH = (1980, 1, 1, 0, 0, 0)


def read_depth(path: Path, shape: tuple[int, int] | None = None, unit: DepthUnit | None = None) -> Depth:
    """Read a depth map.

    ``.npz`` (array ``depth``, or the only array) and ``.npy`` hold float metres; a 16-bit grey PNG holds integers whose
    unit must be declared by `unit` or by a `DECLARATION` file in the same folder, 0 and 65535 meaning "nothing there".
    An EXR holds float metres, too (channel ``Z``, ``V``, ``depth`` or ``Y``, or one grey picture). Values that are NaN,
    zero, negative, infinite or beyond `FARTHEST_M` become ``+inf``; `read_depth_counted` says how many.

    Args:
        path: The file.
        shape: (H, W) that the map must have.
        unit: The unit of a PNG (or of an array file that is not in metres).

    Returns:
        (H, W) float32 metres.

    Raises:
        UnreadableInput: If the file is missing, damaged, of another size or type.
        UsageError: If a PNG's unit is not declared.
    """
    return read_depth_counted(path, shape, unit)[0]


def read_depth_counted(
    path: Path, shape: tuple[int, int] | None = None, unit: DepthUnit | None = None
) -> tuple[Depth, dict[str, int]]:
    """Read a depth map and count the pixels that have none; arguments and errors as of `read_depth`.

    Returns:
        (H, W) float32 metres, ``+inf`` where there is none; and how many pixels were ``zero``, ``saturated`` (65535 in
        an integer file), ``nan``, ``negative`` or ``far`` (infinite or beyond `FARTHEST_M`: nothing is hit there, as
        renderers say it). Kinds without a pixel are left out.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".png":
        raw, unit = _read_png(path, unit)
    elif suffix in (".npz", ".npy"):
        raw = read_array(path, "depth")
    elif suffix == ".exr":
        raw = _read_exr(path)
    else:
        raise UnreadableInput(path, "a depth map is a .npz, .npy, .exr or 16-bit .png file")
    if raw.ndim != 2:
        raise UnreadableInput(path, f"a depth map is (H, W), this array is {raw.shape}")
    if shape is not None and raw.shape != tuple(shape):
        found, wanted = (f"{w}x{h}" for h, w in (raw.shape, shape))
        raise UnreadableInput(path, f"the depth map is {found} pixels but its image is {wanted}")
    scale = _METRES[unit or "m"]
    # Unsigned throughout: a signed 16-bit detour would turn everything beyond 32767 negative.
    metres = (raw.astype(np.float64) * scale).astype(np.float32) if raw.dtype.kind in "uib" else raw.astype(np.float32)
    if raw.dtype.kind == "f" and scale != 1.0:
        metres = metres * np.float32(scale)
    nan = np.isnan(metres)
    saturated = raw == _SATURATED if raw.dtype.kind in "ui" else np.zeros(raw.shape, bool)
    with np.errstate(invalid="ignore"):
        kinds = {
            "zero": metres == 0,
            "saturated": saturated,
            "nan": nan,
            "negative": metres < 0,
            "far": metres > (FARTHEST_M if raw.dtype.kind == "f" else np.inf),
        }
    counts = {kind: int(np.count_nonzero(where)) for kind, where in kinds.items()}
    for kind, where in kinds.items():
        if counts[kind]:
            metres[where] = np.inf
    return metres, {kind: count for kind, count in counts.items() if count}


def write_depth(path: Path, depth: NDArray[Any]) -> str:
    """Write (H, W) metres as a compressed ``.npz``, atomically, rounded to `STEP`; the same depth gives the same bytes.

    Args:
        path: Ends in ``.npz``.
        depth: (H, W) metres, positive or ``+inf``.

    Returns:
        The SHA-256 of the file.

    Raises:
        ValueError: If the path has another suffix, the shape is not (H, W), or a value is NaN or not positive.
        UsageError, EnvironmentNotReady: If the file cannot be written.
    """
    if Path(path).suffix != ".npz":
        raise ValueError(f"depth is written as .npz, got {path}")
    values = np.asarray(depth, np.float64)
    if values.ndim != 2 or not bool((values > 0).all()):
        raise ValueError("depth is (H, W) with positive metres or +inf")
    return write_npz(path, {"depth": (np.maximum(np.rint(values / STEP), 1) * STEP).astype(np.float32)})


def write_npz(path: Path, arrays: dict[str, NDArray[Any]]) -> str:
    """Write named arrays as a compressed ``.npz`` without timestamps, atomically; returns the SHA-256 of the file.

    Raises:
        UsageError, EnvironmentNotReady: If the file cannot be written.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(arrays[name]), version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            info.create_system = 3  # the same bytes on every operating system
            info.external_attr = 0o644 << 16
            archive.writestr(info, member.getvalue(), zipfile.ZIP_DEFLATED, 4)
    write_bytes_atomic(path, buffer.getvalue())
    return sha256_bytes(buffer.getvalue())


def read_array(path: Path, name: str) -> NDArray[Any]:
    """Read one array of a ``.npy`` file, or the array `name` (or the only one) of a ``.npz``; pickles are refused.

    Raises:
        UnreadableInput: If the file is missing, damaged, not numeric, larger than `MAX_BYTES`, or has several arrays
            and none of that name.
    """
    try:
        with open_regular(path) as file:
            packed = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            if not packed:
                return _array(path, file)
            with zipfile.ZipFile(file) as archive:
                names = [member.removesuffix(".npy") for member in archive.namelist()]
                key = name if name in names else names[0] if len(names) == 1 else None
                if key is None:
                    raise UnreadableInput(path, f"it has no array '{name}' but {', '.join(names) or 'nothing'}")
                with archive.open(archive.namelist()[names.index(key)]) as member:
                    return _array(path, member)
    except FileNotFoundError:
        raise UnreadableInput(path, "there is no such file") from None
    except UnreadableInput:
        raise
    except Exception as error:  # a damaged archive fails in as many ways as it has bytes
        raise UnreadableInput(path, f"it is not a NumPy array file, or damaged ({error})") from error


def _array(path: Path, file: IO[bytes]) -> NDArray[Any]:
    """Read an array whose header asks for what a depth map may need; a few bytes can ask for terabytes."""
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, in_columns, dtype = read_header(file)
    if dtype.kind not in "fiub":
        raise UnreadableInput(path, f"its values are {dtype}, not numbers")
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size > MAX_BYTES:
        raise UnreadableInput(path, f"its array of {'x'.join(map(str, shape))} is larger than any picture")
    data = file.read(size)
    if len(data) < size:
        raise UnreadableInput(path, f"it is damaged: it ends after {len(data)} of {size} bytes")
    return np.frombuffer(bytearray(data), dtype).reshape(shape, order="F" if in_columns else "C")


def write_normals(path: Path, normals: NDArray[Any]) -> str:
    """Write (H, W, 3) unit vectors in the view frame as a 16-bit RGB PNG; returns its SHA-256.

    A component n is stored as ``round(32767 (n + 1))``. The angular error of a stored normal is below 0.003
    degrees; a zero vector (nothing hit) is stored exactly.

    Raises:
        ValueError: If the shape is not (H, W, 3) or a component is outside [-1, 1] or not a number.
        UsageError, EnvironmentNotReady: If the file cannot be written.
    """
    values = np.asarray(normals, np.float64)
    if values.ndim != 3 or values.shape[2] != 3 or not bool((np.abs(values) <= 1 + 1e-6).all()):
        raise ValueError("normals are (H, W, 3) with components in [-1, 1]")
    data = encode_png(np.rint((np.clip(values, -1, 1) + 1) * 32767).astype(np.uint16))
    write_bytes_atomic(path, data)
    return sha256_bytes(data)


def read_normals(path: Path, shape: tuple[int, int] | None = None) -> NDArray[np.float32]:
    """Read what `write_normals` wrote; returns (H, W, 3) float32 unit vectors, zero where nothing is hit.

    Raises:
        UnreadableInput: If the file is missing, damaged, not 16-bit RGB, or of another size than `shape`.
    """
    pixels = _read_deep_png(path)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise UnreadableInput(path, "a normal map is a 16-bit RGB PNG")
    if shape is not None and pixels.shape[:2] != tuple(shape):
        found, wanted = (f"{w}x{h}" for h, w in (pixels.shape[:2], shape))
        raise UnreadableInput(path, f"the normal map is {found} pixels but its image is {wanted}")
    vectors = pixels[..., ::-1].astype(np.float64) / 32767 - 1
    length = np.linalg.norm(vectors, axis=2, keepdims=True)
    return np.where(length > 0.5, vectors / np.maximum(length, 0.5), 0).astype(np.float32)


def _read_exr(path: Path) -> NDArray[Any]:
    from robench.io._exr import read_exr

    try:
        return read_exr(path)
    except FileNotFoundError:
        raise UnreadableInput(path, "there is no such file") from None
    except (OSError, ValueError) as error:
        raise UnreadableInput(path, str(error)) from error


def depth_unit(name: str) -> DepthUnit:
    """Return a unit that a user named.

    Raises:
        UsageError: If there is no such unit.
    """
    for unit in get_args(DepthUnit):
        if unit == name:
            return cast(DepthUnit, unit)
    expected = "one of " + ", ".join(_METRES)
    raise UsageError("The unit of the depth files is not known", got=f"'{name}'", expected=expected)


def declaration_of(path: Path) -> Path | None:
    """Return the `DECLARATION` that counts for a depth file: the nearest, in its folder or up to two above; or None."""
    found = (parent / DECLARATION for parent in list(Path(path).parents)[:3])
    return next((declaration for declaration in found if declaration.is_file()), None)


def encode_depth_mm(depth: NDArray[Any]) -> bytes:
    """Return depth as a 16-bit grey PNG in millimetres, which any program reads; 0 means "nothing there".

    Rounded to a millimetre; 65.534 m stands for everything from there on.

    Args:
        depth: (H, W) metres, positive or ``+inf``.
    """
    millimetres = np.clip(np.rint(np.where(np.isfinite(depth), depth, 0.0) * 1000.0), 0, _SATURATED - 1)
    return encode_png(np.where(np.isfinite(depth), np.maximum(millimetres, 1), 0).astype(np.uint16))


def _read_png(path: Path, unit: str | None) -> tuple[NDArray[np.uint16], DepthUnit]:
    if unit is None:
        declaration = declaration_of(path)
        unit = read_json(declaration).get("unit") if declaration is not None else None
        if unit is None or unit not in _METRES:
            raise UsageError(
                f"The unit of the depth PNG {path} is not declared",
                got=repr(unit),
                expected="one of " + ", ".join(_METRES),
                hint=f'write {{"unit": "mm"}} to {declaration or path.parent / DECLARATION}, or --depth-unit',
            )
    pixels = _read_deep_png(path)
    if pixels.ndim != 2:
        raise UnreadableInput(path, "a depth PNG is 16-bit grey, this one has colours")
    return pixels, depth_unit(unit)


def _read_deep_png(path: Path) -> NDArray[np.uint16]:
    import cv2

    from robench.io.images import check_readable

    check_readable(path)  # OpenCV pads a truncated file silently
    pixels = cv2.imdecode(np.frombuffer(Path(path).read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise UnreadableInput(path, "it is not a 16-bit PNG")
    return np.asarray(pixels)
