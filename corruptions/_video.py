"""Video codecs in process (PyAV): a photograph becomes a clip of still frames, is coded, and its last frame is kept.

Everything is pinned to one thread, since the rate control of x265 and the error concealment of H.264 decoders depend on
the number of threads. Colour conversion is done here in whole numbers (BT.601, limited range, chroma between pixels),
because the usual converter rounds differently on different processors. x264 and x265 are GPL; they come with the ``av``
wheel and are not part of this package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from corruptions._base import Image

FRAMES = 2
"""Frames of the still clip."""
RATE = 4
"""Frames a second of the still clip. Encoders weigh quality by how long a frame is seen: at four a second, the second
of two still frames is as good as the last of 120 at 25 a second (within 0.2 dB, CRF 24 to 41), in an eighth of the
time."""

SMALLEST = 64
"""Least side of a coded picture: with a rate buffer, x265 writes beyond its memory below one block, and aborts."""

X265_PINNED = "pools=none:frame-threads=1:info=0:log-level=none:rd=1"
"""One thread, no signature, and the search of the encoder's `faster` preset in the decisions that cost time: a tenth
less of it for at most 0.15 dB. The rest is the intra search of the first frame, which no option shortens at the same
picture (blocks of 16 at least would, by half, for 0.4 dB)."""
X264_PINNED = "threads=1:sliced-threads=0"
X264_CALL = f"{X264_PINNED}:cpu-independent=1:mbtree=0:rc-lookahead=0:sync-lookahead=0:qpmax=51"
"""Macroblock trees and lookahead would weigh frames that a call does not have yet. Beyond H.264's own coarsest step
(51) the encoder would send a small picture as plain grey rather than a few bytes too many."""
H264_CRF = 23

_Y = (16829, 33039, 6416)
_CB = (-9714, -19071, 28785)
_CR = (28785, -24103, -4682)


def coded_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Return the (H', W') that an (H, W) image is coded at: even, and at least 64."""
    height, width = (max(SMALLEST, side + side % 2) for side in shape)
    return height, width


def to_yuv(image: Image) -> NDArray[np.uint8]:
    """Return planar 4:2:0 of an image, brought to its coded shape by repeating the last row and column.

    Args:
        image: (H, W, 3) uint8.

    Returns:
        (3 H' / 2, W') uint8: luma rows, then both chroma planes.
    """
    height, width = coded_shape((image.shape[0], image.shape[1]))
    padding = (height - image.shape[0], width - image.shape[1])
    if any(padding):
        image = np.pad(image, ((0, padding[0]), (0, padding[1]), (0, 0)), mode="edge")
    # Coefficients and offsets are whole in 2**-16 (chroma of four pixels: 2**-18), and all sums are exact: below 2**24
    # of those in single, below 2**53 in double precision. What is positive is rounded down by the conversion.
    values = image.astype(np.float32)
    planes = np.empty((height * 3 // 2, width), np.uint8)
    luma = np.array([[*_Y, (16 << 16) + (1 << 15)]], np.float32) / (1 << 16)
    planes[:height] = cv2.transform(values, luma)
    fours = 4 * cv2.resize(values, (width // 2, height // 2), interpolation=cv2.INTER_AREA).astype(np.float64)
    offset = (128 << 18) + (1 << 17)
    chroma = cv2.transform(fours, np.array([[*_CB, offset], [*_CR, offset]], np.float64) / (1 << 18))
    planes[height:].reshape(2, height // 2, width // 2)[:] = chroma.transpose(2, 0, 1)
    return planes


def _matrix() -> NDArray[np.float64]:
    """Return the (3, 4) map from (Y, 16 Cb, 16 Cr), as stored, to RGB before rounding down.

    In 2**-20: the coefficients of BT.601 times 2**16, and chroma between samples in sixteenths. All sums are whole
    multiples of that below 2**53, so double precision is exact and every processor gives the same bytes.
    """
    base = 16 * ((1 << 15) - 16 * 76309)
    rows = [[16 * 76309, 0, 104597, base], [16 * 76309, -25675, -53279, base + 15], [16 * 76309, 132201, 0, base]]
    return np.array(rows, np.float64) / (1 << 20)


def from_yuv(planes: NDArray[np.uint8], shape: tuple[int, int]) -> Image:
    """Return the image of planar 4:2:0, cut to its (H, W) before padding; chroma is linear between its samples."""
    width = planes.shape[1]
    height = planes.shape[0] * 2 // 3
    chroma = planes.reshape(-1)[height * width :].reshape(2, height // 2, width // 2).astype(np.float32)
    chroma = (chroma - 128) * 16
    # Twice the size has weights of 1/4 and 3/4, which float32 holds exactly.
    doubled = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in chroma]
    yuv = cv2.merge([planes[:height].astype(np.float32), *doubled]).astype(np.float64)
    colours: NDArray[np.float64] = cv2.transform(yuv, _matrix())
    np.clip(colours, 0, 255, out=colours)
    # What is not negative is rounded down by the conversion.
    return np.ascontiguousarray(colours.astype(np.uint8)[: shape[0], : shape[1]])


def encode(codec: str, image: Image, options: Mapping[str, str], frames: int = FRAMES, rate: int = RATE) -> list[bytes]:
    """Encode a still clip.

    Args:
        codec: ``libx264`` or ``libx265``.
        image: (H, W, 3) uint8.
        options: Of the encoder.
        frames: Frames of the clip.
        rate: Frames a second.

    Returns:
        The packets in coding order, Annex B.
    """
    return encode_clip(codec, [to_yuv(image)] * frames, options, rate)


def encode_clip(codec: str, clip: Sequence[NDArray[np.uint8]], options: Mapping[str, str], rate: int) -> list[bytes]:
    """Encode frames of planar 4:2:0.

    Args:
        codec: ``libx264`` or ``libx265``.
        clip: Frames as `to_yuv` gives them, all of one shape.
        options: Of the encoder.
        rate: Frames a second.

    Returns:
        The packets in coding order, Annex B.
    """
    context: Any = av.CodecContext.create(codec, "w")
    context.width, context.height = clip[0].shape[1], clip[0].shape[0] * 2 // 3
    context.pix_fmt = "yuv420p"
    context.framerate, context.time_base = Fraction(rate), Fraction(1, rate)
    context.thread_count = 1
    context.options = dict(options)
    packets: list[bytes] = []
    for i, planes in enumerate(clip):
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = i, context.time_base
        packets += [bytes(p) for p in context.encode(frame)]
    return packets + [bytes(p) for p in context.encode(None)]


def decode(codec: str, packets: Sequence[bytes], shape: tuple[int, int]) -> Image | None:
    """Decode packets, damaged ones too, and return the last frame.

    Args:
        codec: ``h264`` or ``hevc``.
        packets: In coding order.
        shape: (H, W) of the image that was encoded.

    Returns:
        (H, W, 3) uint8, or None if no frame of the right size came out.
    """
    context: Any = av.CodecContext.create(codec, "r")
    context.thread_count = 1
    context.options = {"flags": "+output_corrupt", "flags2": "+showall"}
    height, width = coded_shape(shape)
    last: NDArray[np.uint8] | None = None
    for packet in [*(av.Packet(p) for p in packets), None]:
        try:
            frames = context.decode(packet)
        except av.FFmpegError:
            # A damaged packet: the decoder stays usable, and the next packets are decoded.
            continue
        for frame in frames:
            planes = frame.to_ndarray() if frame.format.name == "yuv420p" else None
            if planes is not None and planes.shape == (height * 3 // 2, width):
                last = planes
    return None if last is None else from_yuv(last, shape)


def h265(image: Image, options: str, frames: int = FRAMES, rate: int = RATE) -> tuple[Image, int]:
    """Send an image through H.265 and back.

    Args:
        image: (H, W, 3) uint8.
        options: x265 parameters, e.g. ``crf=32``.
        frames: Frames of the still clip.
        rate: Frames a second of the still clip.

    Returns:
        The decoded image and the bytes of the stream.

    Raises:
        RuntimeError: If the decoder returns no frame (never seen on an undamaged stream).
    """
    packets = encode("libx265", image, {"x265-params": f"{X265_PINNED}:{options}"}, frames, rate)
    decoded = decode("hevc", packets, (image.shape[0], image.shape[1]))
    if decoded is None:
        raise RuntimeError(f"the H.265 decoder returned no frame for a stream of {sum(map(len, packets))} bytes")
    return decoded, sum(map(len, packets))


def h264_call(frames: Sequence[Image], kilobits: int, rate: int) -> tuple[Image, int]:
    """Send frames through H.264 as a video call does (no delay, limited rate) and return the last.

    Args:
        frames: (H, W, 3) uint8 images of one shape, in the order in which they are seen; at least one.
        kilobits: Kilobits a second, >= 1, on average and at the peak; the buffer holds half a second.
        rate: Frames a second.

    Returns:
        The last frame as decoded, and the bytes of the stream.

    Raises:
        RuntimeError: If the decoder returns no frame (never seen on an undamaged stream).
    """
    limits = f"bitrate={kilobits}:vbv-maxrate={kilobits}:vbv-bufsize={max(1, kilobits // 2)}"
    options = {
        "preset": "veryfast",
        "tune": "zerolatency",
        "profile": "baseline",
        "x264-params": f"{X264_CALL}:{limits}",
    }
    packets = encode_clip("libx264", [to_yuv(frame) for frame in frames], options, rate)
    decoded = decode("h264", packets, (frames[-1].shape[0], frames[-1].shape[1]))
    if decoded is None:
        raise RuntimeError(f"the H.264 decoder returned no frame for a stream of {sum(map(len, packets))} bytes")
    return decoded, sum(map(len, packets))


def h264_stream(image: Image, slices: int = 1, rate: int = RATE) -> list[bytes]:
    """Return the packets of a still clip in H.264 at the encoder's default quality (CRF 23)."""
    options = {"crf": str(H264_CRF), "x264-params": f"{X264_PINNED}:slices={slices}"}
    return encode("libx264", image, options, rate=rate)


def units(stream: bytes) -> list[tuple[int, int, int]]:
    """Return (start, end, type) of the NAL units of an H.264 stream (Annex B); start is the unit's first byte."""
    data = np.frombuffer(stream, np.uint8)
    marks = np.flatnonzero((data[:-2] == 0) & (data[1:-1] == 0) & (data[2:] == 1))
    starts = [int(m) + 3 for m in marks]
    ends = [int(m) for m in marks[1:]] + [len(stream)]
    return [(s, e, int(data[s]) & 31) for s, e in zip(starts, ends, strict=True) if s < e]


def picture_bytes(stream: bytes) -> int:
    """Return the bytes of an H.264 stream that code pictures (no headers, no encoder's signature)."""
    return sum(end - start for start, end, kind in units(stream) if kind in (1, 5))


def filtered(packets: Sequence[bytes], amount: int) -> list[bytes]:
    """Send H.264 packets through ffmpeg's ``noise`` bitstream filter, which overwrites about one byte in `amount`."""
    stream = av.open("noise.h264", "w", format="null").add_stream("libx264", rate=RATE)
    noise = av.BitStreamFilterContext(f"noise=amount={amount}", stream)
    result = [bytes(q) for p in packets for q in noise.filter(av.Packet(p))]
    return result + [bytes(q) for q in noise.filter(None)]
