"""``README.md`` of a reproduction: every output in the paper's order, what differs and why, what was skipped.

Each output's section is kept under ``sections``, so that outputs made by different commands stand in one page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robench import registry
from robench.errors import RobenchError
from robench.io.files import write_text_atomic
from robench.reporting.tables import escape_markdown, markdown_of
from robench.reproduce.bench import Bench
from robench.reproduce.outputs import OUTPUTS, Made, Missing, Output
from robench.reproduce.settings import CITED, PAPER

README = "README.md"
_SECTIONS = "sections"


@dataclass(frozen=True)
class Outcome:
    """How an output ended: made, skipped for what is missing, or failed.

    Attributes:
        output: Which.
        made: What came of it, or None.
        missing: What is not there; of an output that was made, what it lacks.
        error: Why it failed, or None.
    """

    output: Output
    made: Made | None = None
    missing: tuple[Missing, ...] = ()
    error: RobenchError | None = None

    @property
    def state(self) -> str:
        """``made``, ``skipped`` or ``failed``."""
        return "failed" if self.error is not None else "made" if self.made is not None else "skipped"

    def to_json(self, out: Path) -> dict[str, Any]:
        """Return plain values; files relative to `out`."""
        made = self.made or Made()
        return {
            "output": self.output.name,
            "title": self.output.title,
            "state": self.state,
            "files": [path.relative_to(out).as_posix() for path in made.files],
            "findings": [finding._asdict() for finding in made.findings],
            "missing": [one._asdict() for one in self.missing],
            "error": None if self.error is None else str(self.error),
        }


def write_section(outcome: Outcome, bench: Bench) -> Path:
    """Write an output's section, and the page anew; returns the page."""
    out = bench.options.out
    write_text_atomic(_section(out, outcome.output), section(outcome, made_with(bench), out))
    return write_page(out)


def write_page(out: Path) -> Path:
    """Write ``README.md`` from the sections that there are; returns its path."""
    parts = [_HEAD]
    for output in OUTPUTS:
        path = _section(out, output)
        parts.append(path.read_text("utf-8") if path.is_file() else _not_asked(output))
    write_text_atomic(out / README, "\n".join(parts))
    return out / README


def _section(out: Path, output: Output) -> Path:
    return out / _SECTIONS / f"{output.name}.md"


_HEAD = f"""# The paper on 2D priors, made again

{CITED}.

What always differs from the paper, and why:

* **Data.** The paper renders scans of THuman2.0, which are not free to pass on. Here are the people that each output
  names, one picture each.
* **Scale.** The paper has five pictures and no intervals. Here are more people, and intervals over them.
* **Weights.** The paper's trained models are not published. Here are the models that each output names.
* **Protocol.** The paper takes 500 points, scores a turned person against a truth that is not turned, and counts a
  missing distance as 0. Here 10,000 points are taken, the truth moves with the picture, and a failure costs the error
  of the mean body; where both are shown, each is named.
* **Unit.** Distances here are centimetres. The paper's are in the unit of its rescaled meshes: only ratios to the clean
  picture can be compared.

The printed numbers are those of `leaderboards/published/{PAPER}.csv`.
"""


def _not_asked(output: Output) -> str:
    return f"{_title(output)}\nNot asked for yet: `robench reproduce {PAPER} --{output.kind} {output.number}`.\n"


def _title(output: Output) -> str:
    return f"## {output.label}: {escape_markdown(output.title)}\n"


def section(outcome: Outcome, made_with_: str, out: Path) -> str:
    """Return an output's section as Markdown.

    Args:
        outcome: How it ended.
        made_with_: Of `made_with`.
        out: Folder of the page.
    """
    parts = [_title(outcome.output)]
    if outcome.error is not None:
        parts.append(f"**Failed.** {escape_markdown(str(outcome.error))}\n")
    elif outcome.made is None:
        parts.append(f"**Skipped** for want of:\n\n{_listed(outcome.missing)}")
    else:
        parts += _made(outcome.made, outcome.output, out)
        lacking = [one for one in outcome.missing if not one.essential]
        if lacking:
            parts.append(f"**Left out** for want of:\n\n{_listed(lacking)}")
        parts.append(f"Made with {escape_markdown(made_with_)}.\n")
    return "\n".join(parts)


def _made(made: Made, output: Output, out: Path) -> list[str]:
    parts = []
    for path in made.files:
        if path.suffix == ".png":
            parts.append(f"![{output.label}](<{path.relative_to(out).as_posix()}>)\n")
    if made.blocks or made.notes:
        parts.append(markdown_of(made.blocks, made.notes, made.heading))
    if made.findings:
        lines = [
            f"* The paper: {escape_markdown(one.paper)}\n  Here: {escape_markdown(one.here)}" for one in made.findings
        ]
        parts.append("**What the paper says, and what is found here**\n\n" + "\n".join(lines) + "\n")
    if made.differs:
        lines = [f"* {escape_markdown(text)}" for text in made.differs]
        parts.append("**What differs here in particular**\n\n" + "\n".join(lines) + "\n")
    others = [path.relative_to(out).as_posix() for path in made.files if path.suffix != ".png"]
    if others:
        parts.append("Files: " + ", ".join(f"[{escape_markdown(name)}](<{name}>)" for name in others) + "\n")
    return parts


def _listed(missing: Sequence[Missing]) -> str:
    return "".join(f"* {escape_markdown(one.what)}. Try: {escape_markdown(one.command)}\n" for one in missing)


def made_with(bench: Bench) -> str:
    """Return what an output was made with, in words: people and models."""
    options = bench.options
    kind = "made people of anny-humans" if options.data is None else f"people of {options.data.resolve().name}"
    models = []
    for choice in bench.models:
        card = registry.load("models", choice.name).card
        models.append(f"{choice.label} {card.version}")
    settings = ", ".join(f"{name}={value}" for name, value in options.model_options.items())
    return f"{bench.count()} {kind}, seed {options.seed}; {', '.join(models)}" + (f" ({settings})" if settings else "")
