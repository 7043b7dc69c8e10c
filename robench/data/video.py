"""A video as a data set: its frames are taken out once, into a plain folder of pictures, which everything can read."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Image
from robench.data.folder import CAMERAS
from robench.data.ids import safe_id
from robench.data.manifest import MANIFEST, verify_manifest, write_manifest
from robench.errors import UsageError
from robench.io.files import json_text, sha256_bytes, sha256_file, write_json_atomic
from robench.io.images import MAX_PIXELS, write_png

SUFFIXES: Final = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv")
"""File name suffixes (lower case) that are taken for videos."""
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf"
"""What FFmpeg may take a file for."""
RECORD: Final = "video.json"
VERSION: Final = "1"
"""Goes up when the pixels of the frames change."""


def is_video(path: Path) -> bool:
    """True if the path is a file with a video's suffix."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


@contextlib.contextmanager
def as_folder(data: Path, out: Path, every: int | None, *, keep: bool) -> Iterator[Path]:
    """Give the folder of a data set: the one given, or one with a video's frames.

    The frames lie in ``OUT/<video>-frames-<id8>/``, named by what is in them, and are taken out only once.

    Args:
        data: A folder, or a video file.
        out: Where folders of frames go.
        every: Take every so manieth frame of a video; None for all.
        keep: False for a temporary folder instead, which is gone afterwards.

    Raises:
        UsageError: If `every` is given for a folder, or the video cannot be read.
        EnvironmentNotReady: If the disk is full.
    """
    if not is_video(data):
        if every is not None:
            raise UsageError(f"--every is about the frames of a video, and {data} is none", expected="a video file")
        yield data
        return
    about = {"video_sha256": sha256_file(data), "every": every or 1, "version": VERSION}
    name = f"{safe_id(data.stem)}-frames-{sha256_bytes(json_text(about).encode())[:8]}"
    if keep:
        yield extracted(data, out / name, about)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            yield extracted(data, Path(temporary) / name, about)


def extracted(video: Path, folder: Path, about: dict[str, Any]) -> Path:
    """Take the frames out of a video, unless they are there already and whole; returns the folder.

    Frame n of the video, counted from 0 in the order in which they are shown, becomes ``images/frame_<n>.png``. All are
    of one subject, called like the video.

    Args:
        video: The file.
        folder: Where to; its manifest is written last.
        about: ``every``, and what else the record shall say.

    Raises:
        UsageError: If the video cannot be read to its end, or has no picture.
    """
    if (folder / MANIFEST).is_file() and not verify_manifest(folder):
        return folder
    (folder / MANIFEST).unlink(missing_ok=True)
    numbers = []
    for number, image in frames(video, int(about["every"])):
        write_png(folder / "images" / f"frame_{number:06d}.png", image)
        numbers.append(number)
    if not numbers:
        raise UsageError(f"{video} has no picture in it", expected="a video")
    subject = safe_id(video.stem)
    write_json_atomic(folder / CAMERAS, {f"frame_{number:06d}": {"subject": subject} for number in numbers})
    write_json_atomic(folder / RECORD, {**about, "video": video.name, "frames": len(numbers)})
    write_manifest(folder)
    return folder


def frames(video: Path, every: int = 1) -> Iterator[tuple[int, Image]]:
    """Yield (number, (H, W, 3) uint8 sRGB) of every so manieth frame, upright.

    Raises:
        UsageError: If the video cannot be read to its end.
    """
    import av

    number = -1
    try:
        # A path is never an address (concat:..., http:...), whatever it looks like, and a play list is no video: it
        # could name other files.
        with av.open(f"file:{video.absolute()}", options={"format_whitelist": _CONTAINERS}) as container:
            if not container.streams.video:
                raise UsageError(f"{video} has no picture in it", expected="a video")
            for number, frame in enumerate(container.decode(container.streams.video[0])):
                if frame.width * frame.height > MAX_PIXELS:
                    size = f"{frame.width}x{frame.height}"
                    raise UsageError(f"The frames of {video} are too large", got=size, expected="resized ones")
                if number % every == 0:
                    # One thread: slices that are converted apart may be rounded apart at their seams.
                    rgb = frame.reformat(format="rgb24", threads=1).to_ndarray()
                    yield number, upright(rgb, int(getattr(frame, "rotation", 0) or 0))
    except av.FFmpegError as error:
        after = f"after frame {number}" if number >= 0 else "at its beginning"
        raise UsageError(f"The video {video} cannot be read {after}", got=str(error.strerror or error)) from error


def upright(image: NDArray[np.uint8], degrees: int) -> Image:
    """Turn a frame as its display matrix says, counter-clockwise; phones film on their side and note it there."""
    return np.ascontiguousarray(np.rot90(image, round(degrees / 90) % 4))
