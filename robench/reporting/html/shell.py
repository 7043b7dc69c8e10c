"""What every page has in common: style, the frame around its parts, scripts, and a policy that lets nothing else run.

The report and the site of the leaderboards are made of this; each adds its own templates and scripts.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from robench import __version__

SHARED = "robench.reporting.html"
"""The package whose ``assets`` every page shares."""


def asset(name: str, package: str = SHARED) -> str:
    """Return the text of a file in the ``assets`` of a package."""
    return (resources.files(package) / "assets" / name).read_text(encoding="utf-8")


def scripts(names: Sequence[str], package: str = SHARED) -> str:
    """Return script files as one, in the order in which they run; ``shared/NAME`` is one of the report's own."""
    return "\n".join(asset(name.removeprefix("shared/"), SHARED if "/" in name else package) for name in names)


def plotly() -> str:
    """Return Plotly's script, 4.8 MB."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def policy(*texts: str, dynamic: bool = False) -> str:
    """Return a content security policy: these scripts run and no other, and nothing is fetched from anywhere.

    Args:
        texts: The scripts in the page.
        dynamic: Let these scripts, and nobody else, bring in others from files beside the page (``strict-dynamic``).
    """
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") for text in texts]
    allowed = " ".join(["'strict-dynamic'"] * dynamic + [f"'sha256-{text}'" for text in hashes])
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def rendered(name: str, context: Mapping[str, Any], texts: Sequence[str], package: str = SHARED, **rule: bool) -> str:
    """Return a page: a template with its values, of which everything but our own style and scripts is escaped.

    Args:
        name: The template, in the ``assets`` of `package`; it extends ``base.html.j2``.
        context: Its values. ``data`` is JSON for the scripts, as `robench.reporting.html.names.script_json` gives it.
        texts: The scripts, in the order in which they run.
        package: Whose template it is.
        rule: ``dynamic``, as in `policy`.
    """
    own = {"version": __version__, "style": asset("page.css"), "scripts": texts, "policy": policy(*texts, **rule)}
    return str(_environment(package).get_template(name).render({**own, **context}))


@functools.cache
def _environment(package: str) -> Any:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    def load(name: str) -> str | None:
        for owner in (package, SHARED):
            if (resources.files(owner) / "assets" / name).is_file():
                return asset(name, owner)
        return None

    return Environment(
        loader=FunctionLoader(load), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
