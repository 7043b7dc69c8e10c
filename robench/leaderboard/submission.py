"""What a submitter says of a run: links, licence, hardware, date. Checked closely, since it is shown to everybody."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robench.errors import UsageError, printable
from robench.io.yaml_nodes import NodeReader, compose
from robench.leaderboard.columns import VERIFIED
from robench.leaderboard.machine_paths import has_path

NON_COMMERCIAL = "Non-commercial: "
"""Begins the name of a licence that has no SPDX id and allows no commercial use."""
_URL = re.compile(r"https?://[A-Za-z0-9.-]+(?::\d+)?(?:/[A-Za-z0-9._~:/?#\[\]@!$&()*+,;=%-]*)?")
_LONGEST, _LONGEST_URL = 80, 300


@dataclass(frozen=True)
class Submission:
    """What is said of a run beside what it measured.

    Attributes:
        licence: Of weights and code: an SPDX expression, or ``Non-commercial: NAME``.
        date: YYYY-MM-DD.
        paper_url: http or https, or empty; so the next two.
        code_url: The code.
        run_url: Where the run can be seen.
        variant: What the submitter calls this one of several, at most 80 characters.
        hardware: What it ran on; empty for what the rows say.
        verified: One of `robench.leaderboard.columns.VERIFIED`.
    """

    licence: str
    date: str
    paper_url: str = ""
    code_url: str = ""
    run_url: str = ""
    variant: str = ""
    hardware: str = ""
    verified: str = "self"

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            UsageError: Naming the field that is wrong.
        """
        for name in ("paper_url", "code_url", "run_url"):
            refuse_bad_url(name, getattr(self, name))
        for name in ("variant", "hardware"):
            _refuse_bad_text(name, getattr(self, name))
        if canonical_licence(self.licence) != self.licence:
            raise UsageError(
                "The licence is not in its canonical form", got=self.licence, expected=canonical_licence(self.licence)
            )
        try:
            sound = datetime.date.fromisoformat(self.date).isoformat() == self.date
        except ValueError:
            sound = False
        if not sound:
            raise UsageError("The date is not understood", got=f"'{self.date}'", expected="such as 2026-11-21")
        if self.verified not in VERIFIED:
            raise UsageError("'verified' is not understood", got=f"'{self.verified}'", expected=" or ".join(VERIFIED))

    def to_json(self) -> dict[str, str]:
        """Return plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Submission:
        """Return what `to_json` was given.

        Raises:
            UsageError: If a field is missing, unknown, no text, or wrong.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(data, Mapping) or set(data) != known or not all(isinstance(v, str) for v in data.values()):
            raise UsageError("The submission is damaged", expected="texts under " + ", ".join(sorted(known)))
        return cls(**data)


def fields_of(card_licence: str, given: Mapping[str, str], stored: Submission | None, today: str) -> Submission:
    """Return a submission: what is given now, else what was said before, else the model card's licence and today.

    Args:
        card_licence: Of the model's card.
        given: Fields by name.
        stored: The submission of the same run that is on the board already.
        today: YYYY-MM-DD.

    Raises:
        UsageError: If a field is wrong, or there is no licence.
    """
    said = dict(stored.to_json()) if stored is not None else {"date": today}
    said |= given
    if "licence" not in said:
        try:
            said["licence"] = canonical_licence(card_licence)
        except UsageError as error:
            raise UsageError(
                "The licence of the model is not known",
                got=f"'{card_licence}' on its card",
                expected="--licence with an SPDX expression, or 'Non-commercial: NAME'",
            ) from error
    else:
        said["licence"] = canonical_licence(said["licence"])
    return Submission(**said)


def read_submission(path: Path, also: tuple[str, ...] = ()) -> dict[str, str]:
    """Read a submission file: a YAML mapping of the fields of `Submission`, each optional, and of `also`.

    Raises:
        UsageError: If it cannot be read, has an unknown key, or a value that is no text; the message names the line.
    """
    keys = dict.fromkeys([*(field.name for field in dataclasses.fields(Submission)), *also], False)
    reader = NodeReader(path, "docs/leaderboards.md")
    found = reader.mapping(compose(path, "submission"), keys, "the submission")
    return {name: reader.text(node, name) for name, node in found.items()}


def canonical_licence(text: str) -> str:
    """Return a licence as it is published.

    Raises:
        UsageError: If it is neither an SPDX expression nor a named non-commercial licence.
    """
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    if text.lower().startswith(NON_COMMERCIAL.lower()):
        name = " ".join(text[len(NON_COMMERCIAL) :].split())
        if name:
            _refuse_bad_text("licence", name)
            return NON_COMMERCIAL + name
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression as error:
        raise UsageError(
            "The licence is not understood",
            got=f"'{text}'",
            expected="an SPDX expression (Apache-2.0, CC-BY-NC-4.0, LicenseRef-NAME) or 'Non-commercial: NAME'",
        ) from error


def refuse_bad_url(name: str, url: str) -> None:
    """Check a link that will be shown.

    Raises:
        UsageError: If it is neither empty nor a plain http or https address.
    """
    if url and (len(url) > _LONGEST_URL or not _URL.fullmatch(url)):
        raise UsageError(f"'{name}' is no link", got=f"'{url[:_LONGEST_URL]}'", expected="https://...")


def _refuse_bad_text(name: str, text: str) -> None:
    if len(text) > _LONGEST or printable(text) != text or text != text.strip():
        raise UsageError(
            f"'{name}' cannot be shown", got=repr(text[:_LONGEST]), expected=f"one line of {_LONGEST} characters"
        )
    if has_path(text):
        raise UsageError(f"'{name}' holds a path of a machine", got=f"'{text}'", expected="a text without it")
