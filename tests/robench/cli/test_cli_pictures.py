"""Options of the command line that say which pictures: one list, of every verb that works on pictures."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path

import pytest

from robench.cli import _work, refine, similarity
from robench.engine.picture_plan import PictureOptions
from robench.errors import UsageError

NAMES = {field.name for field in fields(PictureOptions)}


@pytest.mark.parametrize("verb", [refine.refine, similarity.similarity])
def test_a_verb_has_them_all_by_their_names(verb) -> None:
    assert set(inspect.signature(verb).parameters) >= NAMES


def test_each_option_arrives_where_it_belongs() -> None:
    plain = NAMES - {"subjects", "views"}
    given = {name: object() for name in plain} | {"subjects": "b, a", "views": "0,-30.5", "model": "not of pictures"}
    found = _work.picture_options(given)
    assert all(getattr(found, name) is given[name] for name in plain)
    assert (found.subjects, found.views) == (["b", "a"], [0.0, -30.5])


def test_what_a_verb_does_not_have_keeps_its_default() -> None:
    assert _work.picture_options({"data": Path("people"), "views": None}) == PictureOptions(data=Path("people"))
    with pytest.raises(UsageError, match="views are not understood"):
        _work.picture_options({"views": "front"})
