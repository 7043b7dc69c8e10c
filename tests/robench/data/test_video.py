"""A video's frames: numbered, upright, taken out once, the same bytes every time."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

from robench.data import video
from robench.data.folder import Folder
from robench.errors import UsageError
from robench.io.images import read_image


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Twelve frames, brighter and brighter, losslessly coded, with B-frames (coded out of order)."""
    path = tmp_path / "spaziergang ü.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=5, options={"qp": "0", "bf": "3"})
        stream.width, stream.height, stream.pix_fmt = 48, 64, "yuv444p"
        for number in range(12):
            frame = np.full((64, 48, 3), 20 + 15 * number, np.uint8)
            frame[:8, :8] = 255
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def test_frames_come_by_number_in_the_order_in_which_they_are_shown(clip: Path) -> None:
    found = list(video.frames(clip, 5))
    assert [number for number, _ in found] == [0, 5, 10]
    for number, image in found:
        assert image.shape == (64, 48, 3)
        assert abs(int(image[40, 30, 0]) - (20 + 15 * number)) <= 2
        assert image[2, 2].min() >= 250


def test_a_video_becomes_a_folder_of_one_subject(clip: Path, tmp_path: Path) -> None:
    with video.as_folder(clip, tmp_path / "out", 4, keep=True) as root:
        samples = list(Folder().samples(root))
        assert [s.sample_id for s in samples] == ["frame_000000", "frame_000004", "frame_000008"]
        assert len({s.subject_id for s in samples}) == 1
        record = json.loads((root / "video.json").read_text())
        assert (record["video"], record["every"], record["frames"]) == (clip.name, 4, 3)
        before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}
    with video.as_folder(clip, tmp_path / "out", 4, keep=True) as again:
        assert again == root
        assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()} == before
    (root / "images" / "frame_000004.png").write_bytes(b"junk")
    with video.as_folder(clip, tmp_path / "out", 4, keep=True):
        assert {p: p.read_bytes() for p in before} == {p: content for p, (content, _) in before.items()}
    with video.as_folder(clip, tmp_path / "out", None, keep=True) as every:
        assert every != root
        assert len(list((every / "images").iterdir())) == 12


def test_a_plan_leaves_no_frame(clip: Path, tmp_path: Path) -> None:
    with video.as_folder(clip, tmp_path / "out", 6, keep=False) as root:
        assert len(list((root / "images").iterdir())) == 2
        assert read_image(root / "images" / "frame_000006.png").shape == (64, 48, 3)
    assert not root.exists()
    assert not (tmp_path / "out").exists()


def test_what_is_no_video_is_told(clip: Path, tmp_path: Path) -> None:
    with video.as_folder(tmp_path, tmp_path / "out", None, keep=True) as root:
        assert root == tmp_path
    with pytest.raises(UsageError, match="--every"), video.as_folder(tmp_path, tmp_path, 2, keep=True):
        pass
    data = clip.read_bytes()
    clip.write_bytes(b"no video at all" * 100)
    with pytest.raises(UsageError, match="cannot be read at its beginning"):
        list(video.frames(clip))
    with av.open(str(tmp_path / "sound.mkv"), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        out.mux([*stream.encode(sound), *stream.encode(None)])
    with pytest.raises(UsageError, match="no picture in it"):
        list(video.frames(tmp_path / "sound.mkv"))
    assert data


@pytest.mark.parametrize("degrees", [0, 90, 180, -90, 270])
def test_frames_are_turned_upright(degrees: int) -> None:
    image = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)
    turned = video.upright(image, degrees)
    assert turned.flags.c_contiguous
    # Counter-clockwise by 90 degrees: what was at the right end of the top row is at the top left.
    corner = {0: image[0, 0], 90: image[0, -1], 180: image[-1, -1], -90: image[-1, 0], 270: image[-1, 0]}[degrees]
    assert np.array_equal(turned[0, 0], corner)
