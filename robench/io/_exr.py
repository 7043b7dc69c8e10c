"""One channel of an OpenEXR file, for depth: single-part scan-line files, uncompressed, RLE, ZIPS or ZIP.

The wheels of OpenCV bring no OpenEXR. Written from the file format's public description
(https://openexr.com/en/latest/OpenEXRFileLayout.html); other compressions are refused by name.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_MAGIC = 20000630
_TILED_DEEP_OR_PARTS = 0x200 | 0x800 | 0x1000
_TYPES: Final[dict[int, np.dtype[Any]]] = {0: np.dtype("<u4"), 1: np.dtype("<f2"), 2: np.dtype("<f4")}
_COMPRESSIONS = ("none", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "B44A", "DWAA", "DWAB")
_LINES = {"none": 1, "RLE": 1, "ZIPS": 1, "ZIP": 16}
_NAMES = ("depth.z", "depth.v", "z", "v", "depth", "y")
"""Names of a depth channel, the first that is there counts; else the only channel, else R where all are alike."""
_MOST_PIXELS = 2**28


class _Channel(NamedTuple):
    name: str
    dtype: np.dtype[Any]


def decode_exr(data: bytes) -> NDArray[Any]:
    """Return the depth channel of an EXR file as (H, W), in its own type.

    Raises:
        ValueError: If it is no such file, damaged, has no depth channel, or is of a layout or compression that is not
            read.
    """
    try:
        return _Reader(data).read()
    except (struct.error, zlib.error, IndexError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"it is a damaged EXR file ({error})") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 8
        if len(data) < 8 or struct.unpack_from("<I", data)[0] != _MAGIC:
            raise ValueError("it is not an EXR file")
        if struct.unpack_from("<I", data, 4)[0] & _TILED_DEEP_OR_PARTS:
            raise ValueError("only single-part EXR files of scan lines are read; save depth as such a file or as .npy")
        self.attributes = dict(iter(self._attribute, None))

    def read(self) -> NDArray[Any]:
        compression = _COMPRESSIONS[self.attributes["compression"][0]]
        if compression not in _LINES:
            expected = ", ".join(_LINES)
            raise ValueError(f"its compression {compression} is not read; save it with one of {expected}, or as .npy")
        left, top, right, bottom = struct.unpack("<4i", self.attributes["dataWindow"])
        width, height = right - left + 1, bottom - top + 1
        if width < 1 or height < 1 or width * height > _MOST_PIXELS:
            raise ValueError(f"its size {width}x{height} is not possible")
        channels = self._channels()
        wanted = _wanted(channels)
        lines = _LINES[compression]
        chunks = -(-height // lines)
        pixels = np.zeros((len(wanted), height, width), channels[wanted[0]].dtype)
        for offset in struct.unpack_from(f"<{chunks}Q", self.data, self.at):
            first, size = struct.unpack_from("<iI", self.data, offset)
            first -= top
            if not 0 <= first < height or offset + 8 + size > len(self.data):
                raise ValueError("it is a damaged EXR file (a block is cut off or lies outside the picture)")
            count = min(lines, height - first)
            row = width * sum(channel.dtype.itemsize for channel in channels)
            raw = _unpacked(self.data[offset + 8 : offset + 8 + size], compression, row * count)
            self._place(raw, channels, wanted, pixels[:, first : first + count])
        if any(not np.array_equal(pixels[0], other, equal_nan=True) for other in pixels[1:]):
            names = ", ".join(channel.name for channel in channels)
            raise ValueError(f"it has no depth channel but {names}")
        depth: NDArray[Any] = pixels[0]
        return depth

    def _place(self, raw: bytes, channels: list[_Channel], wanted: list[int], out: NDArray[Any]) -> None:
        """Each line has one channel after the other."""
        width, start = out.shape[2], 0
        line = sum(width * channel.dtype.itemsize for channel in channels)
        for number, channel in enumerate(channels):
            size = width * channel.dtype.itemsize
            if number in wanted:
                for row in range(out.shape[1]):
                    out[wanted.index(number), row] = np.frombuffer(raw, channel.dtype, width, row * line + start)
            start += size

    def _channels(self) -> list[_Channel]:
        data, at, found = self.attributes["channels"], 0, []
        while data[at] != 0:
            end = data.index(b"\0", at)
            kind, _, across, down = struct.unpack_from("<iIii", data, end + 1)
            if (across, down) != (1, 1):
                raise ValueError("it has a channel at a lower resolution, which is not read")
            found.append(_Channel(data[at:end].decode(), _TYPES[kind]))
            at = end + 17
        return found

    def _attribute(self) -> tuple[str, bytes] | None:
        name = self._text()
        if not name:
            return None
        self._text()
        (size,) = struct.unpack_from("<i", self.data, self.at)
        start = self.at + 4
        if size < 0 or start + size > len(self.data):
            raise ValueError("it is a damaged EXR file (its header is cut off)")
        self.at = start + size
        return name, self.data[start : self.at]

    def _text(self) -> str:
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise ValueError("it is a damaged EXR file (its header is cut off)")
        text, self.at = self.data[self.at : end].decode(), end + 1
        return text


def _wanted(channels: list[_Channel]) -> list[int]:
    names = [channel.name.lower() for channel in channels]
    for name in _NAMES:
        if name in names:
            return [names.index(name)]
    if len(names) == 1:
        return [0]
    colours = [names.index(name) for name in ("r", "g", "b") if name in names]
    if len(colours) == 3 and len({channels[i].dtype for i in colours}) == 1:
        return colours  # a grey picture saved as colour; `read` refuses it if the three differ
    raise ValueError(
        f"it has no depth channel (Z, V, depth or Y) but {', '.join(c.name for c in channels) or 'nothing'}"
    )


def _unpacked(data: bytes, compression: str, size: int) -> bytes:
    """Return the bytes of a block; one that did not get smaller is stored as it is."""
    if compression == "none" or len(data) == size:
        raw = data
    else:
        packed = _run_lengths(data) if compression == "RLE" else zlib.decompressobj().decompress(data, size)
        if len(packed) != size:
            raise ValueError("it is a damaged EXR file (a block is too short)")
        # Bytes were split into even and odd ones, then stored as differences around 128.
        steps = np.frombuffer(packed, np.uint8).astype(np.int64)
        steps[1:] -= 128
        values = np.cumsum(steps).astype(np.uint8)
        mixed = np.zeros(size, np.uint8)
        half = (size + 1) // 2
        mixed[0::2], mixed[1::2] = values[:half], values[half:]
        raw = mixed.tobytes()
    if len(raw) != size:
        raise ValueError("it is a damaged EXR file (a block is too short)")
    return raw


def _run_lengths(data: bytes) -> bytes:
    out, at = bytearray(), 0
    while at < len(data):
        count = struct.unpack_from("b", data, at)[0]
        if count < 0:
            out += data[at + 1 : at + 1 - count]
            at += 1 - count
        else:
            out += data[at + 1 : at + 2] * (count + 1)
            at += 2
    return bytes(out)
