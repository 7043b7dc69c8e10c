"""Training pictures corrupted on the fly, as evaluation corrupts them: same sizes, levels, chains, scenes and masks.

What becomes of a picture is drawn (`Corrupter.draw`) apart from being made (`Corrupter.picture`, `mask`). A draw
depends on the seed, the sample and the turn alone, so that training can be resumed and any picture of it made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from robench import registry
from robench.contracts import Corruption, Mask, Sample
from robench.engine.cells import Maker, corrupt, refuse_unable
from robench.engine.cells import Picture as Picture
from robench.engine.composed import Composed
from robench.engine.inputs import Inputs
from robench.engine.recipes import CLEAN, Recipe, RecipeCell, custom_recipe, load_recipe
from robench.errors import SampleFailure, UsageError
from robench.rng import generator
from robench.training.masks import Maskers, Masking
from robench.training.mixing import Mixing


class Choice(NamedTuple):
    """What becomes of one training picture; plain values, enough to make it again.

    Attributes:
        condition: Name of the condition, or ``clean``.
        severity: 1..5, or 0 for the clean picture.
        seed: Of the corruption's own draws.
        masker: Whose mask of the picture is shown; empty for the true mask.
    """

    condition: str
    severity: int
    seed: int
    masker: str = ""


@dataclass(frozen=True)
class _Slot:
    cell: RecipeCell
    until: float  # the share of this one and all before it


class Corrupter:
    """Draws and makes training pictures.

    Args:
        mixing: Shares and conditions; None for clean pictures alone.
        seed: Of everything drawn.
        masking: Which share is shown with a masker's masks; None for true masks alone.

    Raises:
        UsageError: If a recipe, a corruption or the masker does not exist, or a level is not defined.
        EnvironmentNotReady: If a corruption is broken, or the masker cannot be opened.
        Mismatch: If the masker's weights are not the published ones.
    """

    def __init__(self, mixing: Mixing | None, seed: int, masking: Masking | None = None) -> None:
        self.mixing, self.seed, self.masking = mixing, seed, masking
        self._maskers = None if masking is None else Maskers(masking.masker)
        shares = [] if mixing is None else _shares(mixing)
        self._slots: list[_Slot] = []
        self._clean_share = total = 1.0 if mixing is None else mixing.clean_share
        for cell, share in shares:
            total += share
            self._slots.append(_Slot(cell, total))
        cells = {cell.corruption: cell for cell, _ in shares}
        self._recipe = Recipe("training", "1", tuple(cells.values()))
        self._makers: dict[str, Maker] = {}
        self._corruptions: dict[str, Corruption] = {}
        for name, cell in cells.items():
            if cell.made_of is not None:
                self._makers[name] = Composed(cell.made_of)
            else:
                self._corruptions[name] = registry.load("corruptions", name)

    def identity(self) -> dict[str, Any]:
        """Return what the pictures depend on besides data and seed, as plain values."""
        rest, conditions = self._clean_share, []
        for slot in self._slots:
            cell = slot.cell
            share = round(slot.until - rest, 9)
            rest = slot.until
            conditions.append([cell.corruption, cell.version(), list(cell.severities), share])
        return {"clean_share": self._clean_share, "conditions": conditions}

    def mask_identity(self) -> dict[str, Any] | None:
        """Return what the masks depend on besides the pictures, as plain values; None for true masks alone."""
        if self._maskers is None or self.masking is None:
            return None
        return {**self._maskers.identity, "share": self.masking.share, "draws": self.masking.draws}

    def refuse_unable(self, samples: Sequence[Sample]) -> None:
        """Check, before any work, that every sample has what every corruption needs.

        Raises:
            UsageError: Naming what is lacking, how often, and for which corruptions.
        """
        refuse_lacking(samples, self._recipe, "The corruptions of this training")

    def draw(self, sample_id: str, turn: str) -> Choice:
        """Draw what becomes of a sample's picture.

        Args:
            sample_id: The sample's id.
            turn: Names the time at which the sample is shown; equal turns give equal pictures.
        """
        masker, turn = self._masker(sample_id, turn)
        rng = generator(self.seed, sample_id, "training-picture", turn)
        # Always three numbers, so that a change of shares moves no other draw.
        place, level, seed = float(rng.random()), float(rng.random()), int(rng.integers(2**31))
        if place < self._clean_share:
            return Choice(CLEAN, 0, 0, masker)
        slot = next((slot for slot in self._slots if place < slot.until), self._slots[-1])
        severities = slot.cell.severities
        return Choice(slot.cell.corruption, severities[int(level * len(severities))], seed, masker)

    def _masker(self, sample_id: str, turn: str) -> tuple[str, str]:
        """Draw whose mask is shown, and which turn's picture.

        By a generator of its own: what is shown with its true mask is what a training without masks shows.
        """
        if self.masking is None:
            return "", turn
        rng = generator(self.seed, sample_id, "training-mask", turn)
        place, which = float(rng.random()), float(rng.random())
        if place >= self.masking.share:
            return "", turn
        draws = self.masking.draws
        return self.masking.masker, f"masked {int(which * draws)}" if draws else turn

    def picture(self, sample: Sample, choice: Choice) -> Picture:
        """Make a picture; camera and true mask follow it.

        Raises:
            UsageError: If it cannot be made; names sample, condition and reason.
        """
        inputs = Inputs(sample)
        try:
            if choice.condition in self._makers:
                return self._makers[choice.condition].picture(inputs, choice.severity, choice.seed)
            return corrupt(inputs, self._corruptions.get(choice.condition), choice.severity, choice.seed)
        except SampleFailure as error:
            what = f"The training picture '{sample.sample_id}' under {choice.condition} at {choice.severity}"
            raise UsageError(f"{what} cannot be made", got=str(error), hint="robench data verify") from error

    def mask(self, sample: Sample, picture: Picture) -> Mask:
        """Return the masker's mask of a picture, (H, W) float32 in [0, 1], as evaluation would give it.

        Raises:
            UsageError: If the masker finds nobody, or fails; names it, the sample and the reason.
            ValueError: If no masker was asked for.
        """
        if self._maskers is None:
            raise ValueError("this corrupter was made without a masker")
        return self._maskers.mask(sample, picture)


def refuse_lacking(samples: Sequence[Sample], recipe: Recipe, who: str) -> None:
    """Check that every sample has what every corruption of a recipe needs beside the picture.

    Args:
        samples: To be corrupted.
        recipe: The corruptions.
        who: What to call them, in the plural.

    Raises:
        UsageError: Naming what is lacking, how often, and for which corruptions.
    """
    try:
        refuse_unable(samples, recipe)
    except UsageError as error:
        what = error.what.replace(f"The recipe '{recipe.name}' needs", f"{who} need")
        hint = "leave these corruptions out, or add the missing files to the data set"
        raise UsageError(what, got=error.got, hint=hint) from error


def _shares(mixing: Mixing) -> list[tuple[RecipeCell, float]]:
    """Return every condition with its share of all pictures."""
    if mixing.recipe:
        cells = load_recipe(mixing.recipe).cells
        if not cells:
            raise UsageError(f"The recipe '{mixing.recipe}' has no corruption to train on")
        return [(cell, (1 - mixing.clean_share) / len(cells)) for cell in cells]
    found = []
    for portion in mixing.portions:
        (cell,) = custom_recipe([portion.condition], portion.severities).cells
        found.append((cell, portion.share))
    return found
