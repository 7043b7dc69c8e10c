"""What the outputs share: people, runs, similarities, refinements, adaptations, each made once and resumed.

Every folder is named by what is in it, so that the same command finds its work, and another one finds what both need.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from robench import registry
from robench.contracts import Sample
from robench.engine.encoder_choice import split_name
from robench.engine.model_options import configure, declared
from robench.engine.picture_plan import PictureOptions
from robench.engine.recipes import load_recipe
from robench.engine.selection import Selection
from robench.errors import RobenchError, UsageError, printable
from robench.io.files import json_text, sha256_bytes
from robench.reproduce import at_hand
from robench.reproduce.outputs import Conditions, Missing, RunNeed
from robench.reproduce.people import People
from robench.reproduce.settings import (
    CRITICAL,
    MEASURED,
    OWN_MASKER,
    PAPER,
    PAPER_MASKERS,
    TRUE_MASK,
    ModelChoice,
    ReproduceOptions,
    file_id,
    weights,
)

if TYPE_CHECKING:
    import pandas as pd

    from robench.engine.likeness import Likeness
    from robench.engine.refine import Refined
    from robench.reproduce.adaptation import Adaptation

T = TypeVar("T")
Protocols = Literal["described", "as-coded"]


class Bench:
    """The shared work of a reproduction. Nothing is done before it is asked for, and nothing twice.

    Args:
        options: What the user asked for.

    Attributes:
        people: Who is evaluated, and who is learned from.
    """

    def __init__(self, options: ReproduceOptions) -> None:
        self.options = options
        self.people = People(options)
        self._known: dict[str, Any] = {}

    # Choices

    @property
    def baseline(self) -> ModelChoice:
        """The first model."""
        return self.options.choices[0]

    @property
    def models(self) -> tuple[ModelChoice, ...]:
        """All models, the baseline first."""
        return self.options.choices

    @property
    def asked_maskers(self) -> tuple[str, ...]:
        """The maskers of Table II that the user named, or the paper's and ours; not all need be at hand."""
        return self.options.maskers or (*PAPER_MASKERS, OWN_MASKER)

    @property
    def masker(self) -> str:
        """The masker of all outputs that have one only: the user's first that looks at the picture, else ours."""
        named = [name for name in self.options.maskers if name != TRUE_MASK]
        return (named or [*self.options.maskers, OWN_MASKER])[0]

    def check(self) -> None:
        """Make sure that every name is known, before any work.

        Raises:
            UsageError: If a name or option is not known, a checkpoint is not there, or the data cannot be read.
        """
        if self.options.subjects < 1 or not self.models:
            raise UsageError("There is nothing to reproduce", expected="at least a subject and a model")
        encoder = split_name(self.options.encoder)[0]
        named = {
            "models": [choice.name for choice in self.models],
            "maskers": [*self.options.maskers],
            "encoders": [encoder],
        }
        for kind, names in named.items():
            known = registry.entries(kind)
            for name in names:
                if name not in known:
                    raise registry.unknown_name(kind, name, known)
        for choice in self.models:
            if choice.checkpoint is not None and not choice.checkpoint.exists():
                raise UsageError(
                    f"There is no checkpoint {choice.checkpoint}", hint=f"robench show model {choice.name}"
                )
        taken = {name for choice in self.models for name in self.options_of(choice)}
        for name in self.options.model_options:
            if name not in taken:
                got = f"'{name}' for {', '.join(choice.name for choice in self.models)}"
                raise UsageError("No model has this option", got=got, hint="robench show model NAME")
        if self.options.data is not None:
            self.people.chosen()

    # What is not there

    def model_missing(self, choice: ModelChoice, *, essential: bool = True) -> list[Missing]:
        """Return a model's weights, if they are not there.

        Raises:
            UsageError, Mismatch: If they are there and wrong.
        """
        found = self.once(f"model {choice}", lambda: at_hand.model(choice))
        return [one._replace(essential=essential) for one in found]

    def masker_missing(self, name: str) -> list[Missing]:
        """Return a masker's weights, if they are not there or wrong; an output can do without."""

        def look() -> list[Missing]:
            return at_hand.masker(name, self.people.chosen().samples if self.options.data is not None else ())

        return self.once(f"masker {name}", look)

    @property
    def maskers(self) -> tuple[str, ...]:
        """The maskers of `asked_maskers` that are at hand."""
        return tuple(name for name in self.asked_maskers if not self.masker_missing(name))

    def encoder_missing(self) -> list[Missing]:
        """Return the encoder's weights or library, if they are not there.

        Raises:
            UsageError: If they are there and do not fit.
        """
        return self.once("encoder", lambda: at_hand.encoder(self.options.encoder))

    # People

    def selection(self) -> Selection:
        """Return the people of the evaluation, one picture each; makes them if no data are named."""
        self.once("people", self.people.make)
        return self.people.chosen()

    def samples(self) -> tuple[Sample, ...]:
        """Return the pictures of `selection`."""
        return self.selection().samples

    def count(self) -> int:
        """Return how many pictures there are, or will be."""
        return self.people.count()

    # Work

    def path(self, name: str) -> Path:
        """Return where a file of an output goes."""
        return self.options.out / name

    def cells(self, need: RunNeed) -> int:
        """Return how many pictures a run reconstructs."""
        return self.count() * len(load_recipe(self._recipe(need)).conditions())

    def need(self, model: ModelChoice, masker: str, conditions: Conditions = "all") -> RunNeed:
        """Return the run that serves: where `masker` is the bench's own, all conditions, as other outputs need them."""
        return RunNeed(model, masker, "all" if masker == self.masker else conditions)

    def _recipe(self, need: RunNeed) -> str:
        return PAPER if need.conditions == "all" else CRITICAL

    def run(self, model: ModelChoice, masker: str, conditions: Conditions = "all") -> Path:
        """Evaluate a model with a masker on clean and corrupted pictures; every mesh is kept.

        Args:
            model: Which.
            masker: Registered masker.
            conditions: ``all`` for the paper's twelve, ``critical`` for those of its Table II (and maybe more; `need`).

        Returns:
            The run's folder.

        Raises:
            RobenchError: As `robench.engine.evaluate.evaluate`.
        """
        need = self.need(model, masker, conditions)

        def evaluated() -> Path:
            from robench.engine.evaluate import evaluate
            from robench.engine.tasks import Options

            self.selection()
            self.tell(f"evaluating {model.label} with masks by {masker}")
            options = Options(
                model=model.name,
                data=self.people.root,
                recipe=self._recipe(need),
                masker=masker,
                metrics=MEASURED,
                checkpoint=model.checkpoint,
                out=self.options.out / "runs",
                split=self.people.split,
                limit=self.count(),
                seed=self.options.seed,
                device=self.options.device,
                model_options=self.options_of(model),
                keep="all",
                skip_unable=True,
                fresh=self.options.fresh,
                quiet=self.options.quiet,
                workers=self.options.workers,
                json_events=self.options.json,
            )
            return evaluate(options).folder

        return self.once(f"run {need}", evaluated)

    def rows(self, run: Path) -> pd.DataFrame:
        """Return the rows of a run."""
        from robench.analysis import read_rows

        return self.once(f"rows {run}", lambda: read_rows(run))

    def by_paper(self, run: Path) -> pd.DataFrame:
        """Return a run's numbers by the paper's protocol: `robench.reproduce.protocol.paper_table`."""

        def measured() -> pd.DataFrame:
            from robench.reproduce.protocol import measure_run, paper_table

            out = self.options.out / "paper_protocol" / run.name
            return paper_table(measure_run(run, self.rows(run), self.samples(), out))

        return self.once(f"by paper {run}", measured)

    def likeness(self) -> Likeness:
        """Compare corrupted pictures with clean ones, and sides with the front, by the encoder."""

        def measured() -> Likeness:
            from robench.engine.likeness import LikenessOptions, measure_likeness

            pictures = self.pictures(PAPER)
            self.tell(f"comparing pictures by {self.options.encoder}")
            out = self.options.out / "likeness" / self.named(self.options.encoder)
            options = LikenessOptions(
                encoder=self.options.encoder,
                pictures=pictures,
                out=out,
                step=90,
                device=self.options.device,
                fresh=self.options.fresh,
                quiet=self.options.quiet,
                json_events=self.options.json,
            )
            return measure_likeness(options)

        return self.once("likeness", measured)

    def refined_folder(self, protocol: Protocols = "described", recipe: str | None = None) -> Path:
        """Return where `refined` has its pictures."""
        choice = (
            protocol,
            recipe,
            self.options.encoder,
            self.masker,
            self.options.iterations,
            self.options.refined,
            self.options.refine_size,
        )
        return self.options.out / "refined" / self.named(*choice, *weights(self.baseline))

    def refined(self, protocol: Protocols = "described", recipe: str | None = None) -> Refined:
        """Refine the baseline's colours by the encoder, sequentially and averaged.

        Args:
            protocol: As of ``robench refine``.
            recipe: Of the pictures; None for the clean ones alone.
        """

        def done() -> Refined:
            from robench.contracts import RefineSettings
            from robench.engine.refine import RefineOptions, refine_samples

            self.tell(f"refining {self.baseline.label} by {self.options.encoder} ({protocol})")
            options = RefineOptions(
                model=self.baseline.name,
                prior=self.options.encoder,
                pictures=self.pictures(recipe, self.options.refined),
                out=self.refined_folder(protocol, recipe),
                checkpoint=self.baseline.checkpoint,
                masker=self.masker,
                settings=RefineSettings(
                    iterations=self.options.iterations, protocol=protocol, size=self.options.refine_size
                ),
                model_options=self.options_of(self.baseline),
                device=self.options.device,
                fresh=self.options.fresh,
                quiet=self.options.quiet,
                json_events=self.options.json,
            )
            return refine_samples(options)

        return self.once(f"refined {protocol} {recipe}", done)

    def adapted(self) -> Adaptation:
        """Adapt the baseline on `BATCHES` of corrupted pictures of people who are not in the evaluation."""
        from robench.reproduce.adaptation import adapt_baseline

        return self.once("adapted", lambda: adapt_baseline(self))

    def pictures(self, recipe: str | None, most: int | None = None) -> PictureOptions:
        """Return the people's pictures as options of other commands; makes people that are not there."""
        self.selection()
        limit = self.count() if most is None else min(most, self.count())
        return PictureOptions(
            data=self.people.root,
            recipe=recipe,
            split=self.people.split,
            limit=limit,
            seed=self.options.seed,
            skip_unable=True,
        )

    # How

    def tell(self, text: str) -> None:
        """Say what is done now, on stderr."""
        if not self.options.quiet:
            sys.stderr.write(f"{printable(text)}\n")

    def options_of(self, choice: ModelChoice) -> dict[str, str]:
        """Return those of the user's options that a model has."""
        model = registry.load("models", choice.name)
        found = {name: value for name, value in self.options.model_options.items() if name in declared(model)}
        configure(model, found)  # refuses a value that cannot be
        return found

    def named(self, *choice: Any) -> str:
        """Name a folder by what was chosen and by the people."""
        people = self.people.chosen()
        told = [*choice, people.revision, people.split_sha256, self.options.seed, dict(self.options.model_options)]
        return f"{file_id(split_name(self.options.encoder)[0])}-{sha256_bytes(json_text(told).encode())[:8]}"

    def once(self, key: str, make: Callable[[], T]) -> T:
        """Make something, or return what came of it before, an error too."""
        if key not in self._known:
            try:
                self._known[key] = make()
            except RobenchError as error:
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, RobenchError):
            raise found
        return cast(T, found)
