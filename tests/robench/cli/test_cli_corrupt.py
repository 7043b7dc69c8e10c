"""corrupt, verify and show --strip as a user types them: formats, depth, videos, failures, plans, kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from robench import cli, registry
from robench.contracts import Card
from robench.engine.cset import open_set
from robench.io.images import read_image, read_mask

runner = CliRunner()


def only(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# formats


def test_both_formats_hold_the_same_pixels_and_do_not_meet(run, people: Path, tmp_path: Path) -> None:
    command = ("corrupt", people, tmp_path / "csets", "-c", "darker,side_step", "-s", "1,3", "-q")
    assert run(*command)[0] == 0
    png = only(tmp_path / "csets")
    assert run(*command, "--format", "webp-lossless")[0] == 0
    webp = next(f for f in (tmp_path / "csets").iterdir() if f != png)
    assert webp.name == f"{png.name}-webp"
    one, two = open_set(png), open_set(webp)
    assert one.manifest["cset_id"] == two.manifest["cset_id"], "the format is no part of the identity"
    for key, row in one.rows.items():
        other = two.rows[key]
        assert other["path"] == row["path"].replace(".png", ".webp")
        assert other["pixels_sha256"] == row["pixels_sha256"]
        assert np.array_equal(read_image(webp / other["path"]), read_image(png / row["path"]))
        assert (other["mask_path"], other["mask_sha256"]) == (row["mask_path"], row["mask_sha256"])
    before = content(webp)
    (webp / two.rows["s0_0", "darker", 1]["path"]).unlink()
    code, out, _ = run(*command, "--format", "webp-lossless")
    assert (code, "1 made now" in out) == (0, True)
    assert content(webp) == before
    assert run("verify", tmp_path / "csets")[0] == 0
    code, _, err = run(*command, "--format", "jpeg")
    assert (code, "png or webp-lossless" in err) == (2, True)


def test_masks_of_webp_pictures_are_png(run, plugins, people: Path, tmp_path: Path) -> None:
    class Finder(type(registry.load("maskers", "none"))):
        source = "predicted"
        card = Card("finder", "1", "the whole frame", extra={"weights_hash": "sha256:1"})

    plugins.add("maskers", "finder", Finder)
    run("corrupt", people, tmp_path / "csets", "-c", "darker", "-s", "1", "-q", "--format", "webp-lossless")
    folder = only(tmp_path / "csets")
    code, out, _ = run("mask", folder, "--masker", "finder", "-q")
    assert (code, "6 masks" in out) == (0, True)
    (home,) = (folder / "masks").glob("finder-*")
    assert {p.relative_to(home).as_posix() for p in home.rglob("*.png")} == {
        f"{condition}/s{s}_0.png" for condition in ("clean/0", "darker/1") for s in range(3)
    }
    assert read_mask(home / "darker/1/s0_0.png").min() == 1
    assert run("verify", folder)[0] == 0


def test_a_set_is_no_data(run, people: Path, tmp_path: Path) -> None:
    run("corrupt", people, tmp_path / "csets", "-c", "darker", "-s", "1", "-q")
    code, _, err = run("corrupt", only(tmp_path / "csets"), tmp_path / "again", "-c", "darker")
    assert (code, "corrupted set already" in err) == (2, True)


# failures


def test_fail_fast_stops_and_resumes_without_it(run, people: Path, tmp_path: Path) -> None:
    (people / "images" / "s1_0.png").write_bytes(b"")
    command = ("corrupt", people, tmp_path / "csets", "-c", "darker", "-s", "1,2", "-q")
    code, _, err = run(*command, "--fail-fast")
    assert code == 3
    assert "s1_0 clean 0: s1_0.png cannot be used because it is empty" in err
    folder = only(tmp_path / "csets")
    assert not json.loads((folder / "manifest.json").read_text())["complete"]
    code, out, _ = run("verify", folder)
    assert (code, "unfinished manifest.json" in out) == (8, True)
    code, out, err = run(*command)
    assert code == 3
    assert "6 images (3 made now, 3 failed)" in out, "the three of s0 were made before the stop"
    assert json.loads((folder / "manifest.json").read_text())["failed"][0] == {
        "sample_id": "s1_0",
        "corruption": "clean",
        "severity": 0,
        "message": "s1_0.png cannot be used because it is empty (0 bytes)",
    }
    assert run("verify", folder)[0] == 0, "a failure is recorded, no damage"


@pytest.mark.parametrize(("limit", "code"), [("3", 0), ("2", 3), ("33.4%", 0), ("33%", 3), ("0", 3)])
def test_failures_up_to_a_limit_are_no_failure(run, people: Path, tmp_path: Path, limit: str, code: int) -> None:
    (people / "images" / "s1_0.png").write_bytes(b"")
    command = ("corrupt", people, tmp_path / "csets", "-c", "darker", "-s", "1,2", "-q", "--max-failures", limit)
    assert run(*command)[0] == code
    assert "darker" in {row["corruption"] for row in open_set(only(tmp_path / "csets")).rows.values()}


def test_a_limit_that_is_none_is_told(run, people: Path, tmp_path: Path) -> None:
    code, _, err = run("corrupt", people, tmp_path / "csets", "-c", "darker", "--max-failures", "many")
    assert (code, "such as 20 or 5%" in err) == (2, True)


# plan


def test_the_plan_estimates_and_touches_nothing(run, people: Path, tmp_path: Path) -> None:
    before = content(tmp_path)
    command = ("corrupt", people, tmp_path / "csets", "-c", "darker,side_step", "-s", "1-5", "-q")
    code, out, _ = run(*command, "--plan", "--json")
    plan = json.loads(out)
    assert (code, plan["images"]) == (0, 33)
    assert content(tmp_path) == before
    code, out, _ = run(*command, "--plan")
    assert "33 images -> " in out
    assert "estimated from 3 pictures of 's0_0' made in memory" in out
    run(*command)
    size = sum(len(data) for data in content(only(tmp_path / "csets")).values())
    pictures = sum(p.stat().st_size for p in (tmp_path / "csets").rglob("*.png"))
    assert plan["estimate"]["bytes"] == pytest.approx(pictures, rel=0.1)
    assert pictures > size / 3
    assert plan["estimate"]["seconds"] > 0


def test_the_plan_of_unreadable_pictures_says_so(run, people: Path, tmp_path: Path) -> None:
    for picture in (people / "images").iterdir():
        picture.write_bytes(b"")
    code, out, _ = run("corrupt", people, tmp_path / "csets", "-c", "darker", "--plan")
    assert (code, "cannot be estimated" in out) == (0, True)


# depth


def test_depth_is_chosen_and_told(run, make_people, tmp_path: Path) -> None:
    people = make_people(depth=False, mesh=False)
    command = ("corrupt", people, tmp_path / "csets", "-c", "foggy", "-s", "1", "-q")
    code, _, err = run(*command)
    assert (code, "see --depth" in err) == (2, True)
    assert run(*command, "--depth", "plane")[0] == 0
    cset = open_set(only(tmp_path / "csets"))
    assert {row["depth_source"] for row in cset.rows.values()} == {"plane"}
    assert cset.manifest["depth"]["identity"] == {"order": ["plane"], "plane_m": 3.0}
    code, _, err = run(*command, "--depth", "dpt")
    assert (code, "--depth-weights" in err) == (2, True)


# videos


def test_a_video_is_corrupted_frame_by_frame(run, tmp_path: Path) -> None:
    import av

    clip = tmp_path / "walk.mp4"
    with av.open(str(clip), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(9):
            picture = np.full((48, 64, 3), 25 * number, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    command = ("corrupt", clip, tmp_path / "csets", "--every", "4", "-c", "darker", "-s", "2", "-q")
    code, out, _ = run(*command, "--plan", "--json")
    plan = json.loads(out)
    assert (code, plan["images"], (tmp_path / "csets").exists()) == (0, 6, False)
    code, out, _ = run(*command, "--json")
    assert (code, json.loads(out)["folder"]) == (0, plan["folder"])
    cset = open_set(Path(plan["folder"]))
    assert {key[0] for key in cset.rows} == {"frame_000000", "frame_000004", "frame_000008"}
    assert len(cset.select().samples) == 3, "the set finds its frames"
    assert run("verify", tmp_path / "csets")[0] == 0
    code, out, _ = run(*command)
    assert (code, "0 made now" in out) == (0, True)
    code, _, err = run("corrupt", tmp_path, tmp_path / "x", "--every", "2")
    assert (code, "--every" in err) == (2, True)


# verify


def test_verify_says_what_is_wrong_and_exits_8(run, people: Path, tmp_path: Path) -> None:
    run("corrupt", people, tmp_path / "csets", "-c", "darker", "-s", "1", "-q")
    folder = only(tmp_path / "csets")
    code, out, _ = run("verify", folder)
    assert (code, "files, sound" in out) == (0, True)
    (folder / "images/darker/1/s0_0.png").unlink()
    (folder / "extra.txt").write_text("x")
    (folder / "images/darker/1/s1_0.png").write_bytes(b"other")
    code, out, _ = run("verify", tmp_path / "csets")
    assert code == 8
    assert out.splitlines()[:3] == [
        "extra extra.txt",
        "missing images/darker/1/s0_0.png",
        "changed images/darker/1/s1_0.png: its content is not what was recorded",
    ]
    assert "3 differences" in out
    code, out, _ = run("verify", folder, "--json")
    said = json.loads(out)
    assert (code, said["sound"], len(said["sets"][0]["differences"])) == (8, False, 3)
    code, _, err = run("verify", people)
    assert (code, "no corrupted set" in err) == (2, True)


# show --strip


def test_a_strip_of_a_corruption(run, people: Path, tmp_path: Path) -> None:
    code, out, _ = run("show", "corruption", "darker", "--strip", tmp_path / "s.png")
    assert (code, "darker on a drawn figure" in out) == (0, True)
    strip = read_image(tmp_path / "s.png")
    assert strip.shape[1] > 6 * 200
    # From left to right it gets darker: the six pictures are what they are called.
    row = strip[150].astype(float).mean(1)
    tiles = [row[left : left + 100].mean() for left in np.linspace(150, strip.shape[1] - 200, 6).astype(int)]
    assert tiles == sorted(tiles, reverse=True)
    code, out, err = run("show", "corruption", "fog_3d", "--strip", tmp_path / "f.png", "--json")
    assert (code, json.loads(out)["name"], "f.png" in err) == (0, "fog_3d", True)
    picture = people / "images" / "s0_0.png"
    _, out, _ = run("show", "corruption", "foggy", "--strip", tmp_path / "f.png", "--on", picture)
    assert "foggy on s0_0.png, depth: as given" in out
    (people / "depth" / "s0_0.npz").unlink()
    _, out, _ = run("show", "corruption", "foggy", "--strip", tmp_path / "f.png", "--on", picture)
    assert "depth: a plane at 3 m" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["corruption", "darker", "--strip", "s.jpg"], "ends in .png"),
        (["corruption", "darker", "--on", "x.png"], "--strip FILE.png"),
        (["model", "toy", "--strip", "s.png"], "of a corruption"),
        (["corruption", "darker", "--strip", "s.png", "--on", "nowhere.png"], "no such file"),
    ],
)
def test_strip_usage(run, tmp_path: Path, monkeypatch, words: list[str], says: str) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run("show", *words)
    assert (code, out, says in err) == (2, "", True), err
    assert not list(tmp_path.glob("s.*"))


# kill


SLOW = """
import time
from robench.cli import main
from robench.engine.journal import Journal
append = Journal.append
Journal.append = lambda self, item: (append(self, item), time.sleep(0.05))[0]
main()
"""
"""A program that can be hit in the middle, however fast or busy the machine is."""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_killed_corrupt_resumes_to_the_same_bytes(make_people, tmp_path: Path, jobs: str) -> None:
    people = make_people(6, depth=False, name="crowd")
    words = ["corrupt", str(people), "-c", "color_quant,camera_roll,fog_3d", "-s", "1,5", "-q", "-j", jobs]
    words += ["--format", "webp-lossless", "--depth", "mesh"]

    killed = subprocess.Popen([sys.executable, "-c", SLOW, *words[:2], str(tmp_path / "csets"), *words[2:]])
    while killed.poll() is None:
        journals = list((tmp_path / "csets").glob("*/*.wip.jsonl"))
        if journals and journals[0].read_bytes().count(b"\n") >= 5:
            os.kill(killed.pid, signal.SIGKILL)
            break
        time.sleep(0.01)
    killed.wait(timeout=120)
    assert killed.returncode == -9
    folder = only(tmp_path / "csets")
    (folder / "images" / ".tmp-abc-half.webp").write_bytes(b"half")

    def finish(out: str) -> dict:
        done = runner.invoke(cli.app, [*words[:2], str(tmp_path / out), *words[2:-7], *words[-4:], "--json", "-q"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    said = finish("csets")
    assert 0 < said["made"] < 42
    other = Path(finish("whole")["folder"])
    assert content(folder) == content(other)
    assert len(content(folder)) == 42 + 2 * (6 + 12) + 3
