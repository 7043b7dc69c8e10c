"""Recipes: which corruptions at which severities make a test set. The clean picture is part of every recipe.

A recipe is a YAML file with ``name``, ``version``, ``description``, ``reference`` and ``cells``, a list of
``{corruption, severities}``.
"""

from __future__ import annotations

from pathlib import Path


def folder() -> Path:
    """Return the folder of the recipe files."""
    return Path(__file__).resolve().parent
