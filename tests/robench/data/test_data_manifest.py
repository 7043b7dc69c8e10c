from __future__ import annotations

import json

import pytest

from robench.data.manifest import build_manifest, read_manifest, revision, verify_manifest, write_manifest
from robench.errors import UsageError
from robench.io.files import sha256_bytes


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"a")
    (tmp_path / "images" / "b.png").write_bytes(b"b")
    (tmp_path / "cameras.json").write_text("{}")
    return tmp_path


def test_the_manifest_names_every_file_but_itself_and_hidden_ones(root):
    (root / ".tmp-123-a.png").write_bytes(b"half")
    (root / ".cache").mkdir()
    (root / ".cache" / "x").write_bytes(b"x")
    before = revision(root)
    assert write_manifest(root) == before == revision(root)
    assert read_manifest(root) == build_manifest(root)
    assert read_manifest(root) == {
        "cameras.json": sha256_bytes(b"{}"),
        "images/a.png": sha256_bytes(b"a"),
        "images/b.png": sha256_bytes(b"b"),
    }
    assert verify_manifest(root) == []


def test_missing_changed_and_extra_files_are_named(root):
    write_manifest(root)
    old = revision(root)
    (root / "images" / "a.png").unlink()
    (root / "images" / "b.png").write_bytes(b"B")
    (root / "images" / "c.png").write_bytes(b"c")
    problems = [(p.path.name, p.message.split(":")[0]) for p in verify_manifest(root)]
    assert problems == [("a.png", "is missing"), ("b.png", "has changed"), ("c.png", "is not in the manifest")]
    write_manifest(root)
    assert revision(root) != old


def test_the_revision_follows_names_and_bytes_only(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "images").mkdir()
    for name, data in (("cameras.json", b"{}"), ("images/b.png", b"b"), ("images/a.png", b"a")):
        (other / name).write_bytes(data)
    assert revision(other) == revision(root)
    (other / "images" / "a.png").rename(other / "images" / "z.png")
    assert revision(other) != revision(root)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"files": {}}', '{"format": "robench/data-manifest/1", "files": {"a": 1}}']
)
def test_a_file_that_is_no_manifest_is_a_problem(root, content):
    (root / "manifest.json").write_text(content)
    with pytest.raises(UsageError, match=r"manifest\.json"):
        read_manifest(root)
    assert len(verify_manifest(root)) == 1


def test_a_manifest_cannot_point_outside(root):
    files = {"../../etc/passwd": "0" * 64}
    (root / "manifest.json").write_text(json.dumps({"format": "robench/data-manifest/1", "files": files}))
    assert "leaves its folder" in verify_manifest(root)[0].message
