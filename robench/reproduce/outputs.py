"""The paper's tables and figures: what each is called, what it needs, and which module makes it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, cast

from robench.errors import UsageError

if TYPE_CHECKING:
    from robench.reporting.tables import Block
    from robench.reproduce.bench import Bench
    from robench.reproduce.settings import ModelChoice, ReproduceOptions

Kind = Literal["table", "figure"]
Conditions = Literal["all", "critical"]


class Missing(NamedTuple):
    """Something that is not there.

    Attributes:
        what: Its name, and perhaps why it is wanted.
        command: What fetches, makes or names it.
        essential: False if the output can be made without it, and merely lacks a part.
    """

    what: str
    command: str
    essential: bool = True


class RunNeed(NamedTuple):
    """A run that an output looks at: arguments of `Bench.run`."""

    model: ModelChoice
    masker: str
    conditions: Conditions = "all"


class Finding(NamedTuple):
    """A sentence of the paper, and ours beside it, made of numbers."""

    paper: str
    here: str


@dataclass(frozen=True)
class Plan:
    """What an output would do.

    Attributes:
        runs: Evaluations that it looks at; shared with others, and done once.
        facts: What else, JSON-able: ``{"refinements": 10}``.
    """

    runs: tuple[RunNeed, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """What came of an output.

    Attributes:
        files: Written under the options' `out`, each under its own name; a PNG is shown in ``README.md``.
        blocks: Tables as `robench.reporting.tables` prints them.
        notes: Sentences under the tables.
        differs: What differs from the paper in this output, and why; `robench.reproduce.write` adds what always does.
        findings: The paper's beside ours.
        heading: Of the blocks' first column, which has the names of the rows.
    """

    files: tuple[Path, ...] = ()
    blocks: tuple[Block, ...] = ()
    notes: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    heading: str = "Corruption"


class Maker(Protocol):
    """What the module of an output has."""

    def missing(self, bench: Bench) -> list[Missing]:
        """Return what is not there."""
        ...

    def make(self, bench: Bench) -> Made:
        """Make the output from what the bench has; files by `Bench.path`."""
        ...

    def plan(self, bench: Bench) -> Plan:
        """Return what `make` would do; touches nothing."""
        ...


@dataclass(frozen=True)
class Output:
    """A table or a figure of the paper; its module is imported when it is first asked.

    Attributes:
        kind: ``table`` or ``figure``.
        number: As printed.
        title: What it shows.
    """

    kind: Kind
    number: int
    title: str

    @property
    def name(self) -> str:
        """``table1``: what files, rows of published numbers and the module are called."""
        return f"{self.kind}{self.number}"

    @property
    def label(self) -> str:
        """``Table I`` or ``Figure 3``, as the paper says."""
        return f"Table {'I' * self.number}" if self.kind == "table" else f"Figure {self.number}"

    @property
    def _maker(self) -> Maker:
        return cast(Maker, importlib.import_module(f"robench.reproduce.{self.name}"))

    def missing(self, bench: Bench) -> list[Missing]:
        """Return what is not there."""
        return self._maker.missing(bench)

    def make(self, bench: Bench) -> Made:
        """Make it."""
        return self._maker.make(bench)

    def plan(self, bench: Bench) -> Plan:
        """Return what `make` would do; touches nothing."""
        return self._maker.plan(bench)


OUTPUTS = (
    Output("table", 1, "Similarity of corrupted pictures, and of other views, to the clean front"),
    Output("table", 2, "Maskers under the most critical corruptions"),
    Output("table", 3, "Parameters"),
    Output("figure", 3, "Corrupted pictures over their reconstructions"),
    Output("figure", 4, "Refinement, iteration by iteration: loss and PSNR"),
    Output("figure", 5, "Refinement: before and after"),
    Output("figure", 6, "Every method under every corruption: Chamfer"),
    Output("figure", 7, "Adaptation to few corrupted pictures"),
    Output("figure", 8, "Refinement, iteration by iteration: SSIM"),
    Output("figure", 9, "Refinement, iteration by iteration: distance to the true views"),
    Output("figure", 10, "Every method under every corruption: P2S"),
)
"""Tables, then figures, by number."""


def wanted(options: ReproduceOptions) -> tuple[Output, ...]:
    """Return the outputs that are asked for, in the order of `OUTPUTS`.

    Raises:
        UsageError: If there is no such table or figure.
    """
    asked = {*(("table", n) for n in options.tables), *(("figure", n) for n in options.figures)}
    known = {(output.kind, output.number) for output in OUTPUTS}
    for kind, number in sorted(asked - known):
        numbers = ", ".join(str(o.number) for o in OUTPUTS if o.kind == kind)
        raise UsageError(f"There is no {kind} {number} to reproduce", expected=f"--{kind} {numbers}")
    return tuple(output for output in OUTPUTS if not asked or (output.kind, output.number) in asked)
