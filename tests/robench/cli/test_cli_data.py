from __future__ import annotations

import json
import sys

import numpy as np
import pytest

import robench.data.anny_humans
from robench import cli
from robench.cli.data import parse_views
from robench.data.splits import write_splits
from robench.errors import ExitCode, UsageError
from robench.io.images import write_mask, write_png


@pytest.fixture
def robench_data(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["robench", "data", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return caught.value.code or 0, out, err

    return run


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    for name in "abc":
        write_png(root / f"{name}.png", np.full((50, 40, 3), 9, np.uint8))
    write_mask(root / "a_mask.png", np.ones((50, 40)))
    return root


def test_info_counts(robench_data, photos):
    write_splits(photos, {"train": ["a"], "test": ["b", "c"]})
    code, out, _ = robench_data("info", photos, "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["dataset"] == "folder@1"
    assert (facts["samples"], facts["subjects"], facts["views"]) == (3, 3, 1)
    assert facts["with"] == {"mask": 1, "depth": 0, "normals": 0, "camera": 3, "mesh": 0}
    assert facts["splits"] == {"train": 1, "test": 2}
    code, out, _ = robench_data("info", photos)
    assert code == 0
    assert facts["revision"] in out
    assert "train 1, test 2" in out


def test_verify_says_sound_then_records_then_finds_every_change(robench_data, photos):
    code, out, _ = robench_data("verify", photos)
    assert code == 0
    assert "no manifest.json" in out
    assert robench_data("verify", photos, "--write-manifest")[0] == 0
    code, out, _ = robench_data("verify", photos)
    assert (code, out.strip()) == (0, f"{photos}: sound")
    (photos / "b.png").write_bytes(b"")
    (photos / "c.png").unlink()
    code, out, err = robench_data("verify", photos)
    assert code == ExitCode.MISMATCH == 8
    assert "b.png: has changed" in out
    assert "b.png: it is empty (0 bytes)" in out
    assert "c.png: is missing" in out
    assert "3 problems" in err
    assert robench_data("verify", photos, "--write-manifest")[0] == 8


@pytest.mark.parametrize("verb", ["info", "verify"])
def test_folders_that_are_none(robench_data, tmp_path, photos, verb):
    (tmp_path / "empty").mkdir()
    for path, word in (
        (tmp_path / "nowhere", "no folder"),
        (tmp_path / "empty", "is empty"),
        (photos / "a.png", "a file"),
    ):
        code, out, err = robench_data(verb, path)
        assert (code, out) == (2, "")
        assert word in err
        assert len(err.strip().splitlines()) == 1
    code, _, err = robench_data(verb, photos, "--dataset", "pifu")
    assert code == 2
    assert "pifu-render" in err


def test_synth_passes_everything_on(robench_data, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(robench.data.anny_humans, "synthesise", lambda **given: calls.append(given) or "0123456789")
    options = [
        "--subjects",
        "3",
        "--views",
        "0,30,-90.5",
        "--size",
        "256",
        "--seed",
        "7",
        "--split",
        "val",
        "-j",
        "2",
        "--start",
        "5",
    ]
    code, out, _ = robench_data("synth", tmp_path / "x", *options)
    assert code == 0
    assert "3 subjects, 3 views each, split val, revision 01234567" in out
    expected = {"out": tmp_path / "x", "subjects": 3, "views": [0.0, 30.0, -90.5], "size": 256, "seed": 7}
    assert calls == [expected | {"split": "val", "workers": 2, "start": 5}]


def test_synth_refuses_wrong_values(robench_data, tmp_path):
    for options, word in (
        (["--split", "dev"], "no split 'dev'"),
        (["--views", "0,x"], "'0,x'"),
        (["--subjects", "0"], "subjects"),
        (["--size", "8"], "size"),
        (["-j", "0"], "workers"),
    ):
        code, _, err = robench_data("synth", tmp_path / "x", *options)
        assert code == 2
        assert word in err
    assert not (tmp_path / "x").exists()


def test_views():
    assert parse_views(" 0, 30 ,-7.5,") == [0.0, 30.0, -7.5]
    for text in ("", ",", "a", "0,0", "nan", "inf", "400"):
        with pytest.raises(UsageError, match="views"):
            parse_views(text)
