from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from robench.errors import EnvironmentNotReady, ExitCode, UsageError
from robench.io.files import (
    TEMP_PREFIX,
    atomic_path,
    explain_os_error,
    json_text,
    read_json,
    safe_join,
    sha256_bytes,
    sha256_file,
    write_bytes_atomic,
    write_json_atomic,
    write_text_atomic,
)


def test_a_file_appears_with_its_content_and_nothing_else_is_left(tmp_path):
    write_bytes_atomic(tmp_path / "a" / "b" / "x.bin", b"\x00\x01")
    write_text_atomic(tmp_path / "a" / "b" / "x.txt", "é\n")
    assert (tmp_path / "a/b/x.bin").read_bytes() == b"\x00\x01"
    assert (tmp_path / "a/b/x.txt").read_bytes() == "é\n".encode()
    assert sorted(p.name for p in (tmp_path / "a/b").iterdir()) == ["x.bin", "x.txt"]


def test_the_temporary_file_is_a_hidden_neighbour_with_the_same_suffix(tmp_path):
    with atomic_path(tmp_path / "x.npz") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(TEMP_PREFIX)
        assert temporary.suffix == ".npz"
        temporary.write_bytes(b"1")
        assert not (tmp_path / "x.npz").exists()
    assert (tmp_path / "x.npz").read_bytes() == b"1"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_whatever_interrupts_a_write_leaves_the_old_file_and_no_litter(tmp_path, error):
    path = tmp_path / "x.txt"
    path.write_text("old")

    def interrupted() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("ne")
            raise error

    with pytest.raises(error):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_process_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    code = (
        "import os, sys; from pathlib import Path; from robench.io.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as t:\n    t.write_text('half'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 9
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("number", "kind", "code", "word"),
    [
        (errno.ENOSPC, EnvironmentNotReady, ExitCode.ENVIRONMENT, "full"),
        (errno.EDQUOT, EnvironmentNotReady, ExitCode.ENVIRONMENT, "full"),
        (errno.EROFS, EnvironmentNotReady, ExitCode.ENVIRONMENT, "read-only"),
        (errno.EIO, EnvironmentNotReady, ExitCode.ENVIRONMENT, "could not be written"),
        (errno.EACCES, UsageError, ExitCode.USAGE, "permission"),
        (errno.EPERM, UsageError, ExitCode.USAGE, "permission"),
        (errno.EISDIR, UsageError, ExitCode.USAGE, "cannot be written"),
    ],
)
def test_a_refusing_disk_gives_one_sentence_that_names_the_file(tmp_path, monkeypatch, number, kind, code, word):
    path = tmp_path / "x.txt"
    path.write_text("old")

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(kind, match=word) as caught:
        write_text_atomic(path, "new")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == code
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_really_full_device_is_told(tmp_path):
    with pytest.raises(OSError, match="space") as caught:
        Path("/dev/full").write_bytes(b"x")
    assert isinstance(explain_os_error(caught.value, tmp_path / "x"), EnvironmentNotReady)


def test_a_folder_or_a_file_in_the_way_is_a_usage_error(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="folder"):
        write_text_atomic(tmp_path / "folder", "x")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="file"):
        write_text_atomic(tmp_path / "file" / "y.txt", "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_json_is_stable_and_refuses_nan(tmp_path):
    assert json_text({"b": 1, "a": [1.5, None]}) == json_text({"a": [1.5, None], "b": 1})
    with pytest.raises(ValueError, match="JSON"):
        json_text({"a": float("nan")})
    write_json_atomic(tmp_path / "x.json", {"ü": 1})
    assert read_json(tmp_path / "x.json") == {"ü": 1}
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"ü": 1}


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe{}", b'{"a": 1,}'])
def test_broken_json_is_a_usage_error_that_names_the_file(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"x\.json is not a valid JSON"):
        read_json(tmp_path / "x.json")
    with pytest.raises(UsageError, match="There is no file"):
        read_json(tmp_path / "y.json")


def test_hashes_are_those_of_hashlib(tmp_path):
    data = bytes(range(256)) * 5000
    (tmp_path / "x").write_bytes(data)
    assert sha256_file(tmp_path / "x") == sha256_bytes(data) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a\\..\\x", "C:x", "a\0b", "link/x"])
def test_names_that_lead_out_are_refused(tmp_path, name):
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="leaves its folder"):
        safe_join(root, name)


def test_names_inside_are_joined(tmp_path):
    assert safe_join(tmp_path, "a/b..c/d.png") == tmp_path / "a" / "b..c" / "d.png"
