"""The documentation follows the cards, and its links and pictures exist."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])


def test_pages_of_corruptions_are_those_of_the_cards():
    done = subprocess.run(
        [sys.executable, "tools/corruption_docs.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    for target in targets:
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name} points to {target}"
        if anchor and found.suffix == ".md":
            heads = re.findall(r"^#+ (.+)$", found.read_text("utf-8"), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in slugs, f"{page.name} points to {target}"


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text("utf-8"), re.S)


@pytest.mark.parametrize(("page", "count"), [("README.md", 1), ("docs/library.md", 2)])
def test_code_of_the_library_runs_as_it_is_printed(page, count):
    rng = np.random.default_rng(0)
    image, depth = rng.integers(0, 256, (48, 40, 3)).astype(np.uint8), np.full((48, 40), 3.0, np.float32)
    items = [{"image": image, "depth": depth} for _ in range(4)]
    names = {"image": image, "depth": depth, "dataset": items, "DataLoader": torch.utils.data.DataLoader, "epochs": 1}
    code = blocks(page, "python")
    assert len(code) == count
    for block in code:
        if "batch_size" in block:
            block += "    batches = [batch['image'].shape for batch in loader]\n"
        exec(block, names)
    assert names["foggy"].shape == image.shape
    assert not np.array_equal(names["foggy"], image)
    if "batches" in names:
        assert names["batches"] == [(4, 48, 40, 3)]
        assert not np.array_equal(names["dark"], image)


def test_the_recipe_that_is_shown_can_be_used_and_its_error_is_the_one_that_is_shown(tmp_path):
    from robench.engine.recipes import load_recipe
    from robench.errors import UsageError

    (text,) = blocks("docs/recipes.md", "yaml")
    path = tmp_path / "foggy-morning.yaml"
    path.write_text(text)
    assert [cell.corruption for cell in load_recipe(str(path)).cells][:2] == ["fog_3d", "camera_roll"]
    (shown,) = re.findall(r"```\n(foggy-morning.*?)\n```", (ROOT / "docs/recipes.md").read_text("utf-8"))
    line = int(shown.split(":")[1])
    lines = text.splitlines()
    lines[line - 1] = lines[line - 1].replace("fog_3d", "fog3d")
    path.write_text("\n".join(lines))
    with pytest.raises(UsageError) as told:
        load_recipe(str(path))
    assert str(told.value).removeprefix(f"{tmp_path}/") == shown
