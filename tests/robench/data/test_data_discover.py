from __future__ import annotations

import os

import numpy as np
import pytest

from robench import registry
from robench.data.discover import open_dataset
from robench.errors import EnvironmentNotReady, UsageError
from robench.io.images import write_png


@pytest.fixture
def photos(tmp_path):
    write_png(tmp_path / "photos" / "a.png", np.zeros((40, 40, 3), np.uint8))
    return tmp_path / "photos"


def test_a_plain_folder_is_the_last_resort(photos, tmp_path):
    opened = open_dataset(photos)
    assert (opened.name, opened.root) == ("folder", photos)
    for name in ("RENDER", "PARAM"):
        (photos / name).mkdir()
    assert open_dataset(photos).name == "pifu-render"
    assert open_dataset(photos, "folder").name == "folder"


def test_what_is_no_data_set_is_told_in_one_sentence(tmp_path, photos):
    def refusal(path, name=None):
        with pytest.raises(UsageError) as caught:
            open_dataset(path, name)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "There is no folder" in refusal(tmp_path / "nowhere")
    assert "is a file" in refusal(photos / "a.png")
    (tmp_path / "empty").mkdir()
    assert "is empty" in refusal(tmp_path / "empty")
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "a.pdf").write_text("x")
    assert "not a data set that robench knows" in refusal(tmp_path / "papers")
    assert "does not have the layout of 'pifu-render'" in refusal(photos, "pifu-render")
    assert "did you mean 'folder'" in refusal(photos, "foldr")


def test_a_broken_reader_of_a_stranger_stops_nobody(photos, monkeypatch):
    known = dict(registry.entries("datasets"))
    load = registry.load

    def fake_load(kind, name):
        if name == "aaa":
            raise EnvironmentNotReady("The dataset 'aaa' is broken")
        return load(kind, name)

    monkeypatch.setattr(registry, "entries", lambda kind: {"aaa": None, **known})
    monkeypatch.setattr(registry, "load", fake_load)
    assert open_dataset(photos).name == "folder"
    with pytest.raises(EnvironmentNotReady):
        open_dataset(photos, "aaa")
    os.rename(photos / "a.png", photos / "a.txt")
    with pytest.raises(UsageError, match=r"these readers are broken: aaa"):
        open_dataset(photos)
