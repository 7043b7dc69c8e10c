"""``CARD.md`` of a board: what it is about, and, in its head, which data belong on it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from robench.errors import EnvironmentNotReady, Mismatch, NotComparable, UsageError, printable
from robench.io.yaml_nodes import NodeReader, compose_text
from robench.leaderboard.columns import SCHEMA_VERSION, TRACKS
from robench.leaderboard.entry import METRICS, Entry, recipe_sha

_TRACK = {
    "image-only": "The model is given the picture and what it makes of it itself; masks come from a masking network.",
    "given-mask": "The model is told where the person is: masks come from the ground truth, moved with the picture.",
}
_HEAD = {"schema_version": True, "track": True, "dataset": True, "licence": True, "revisions": True}
_REVISION = {"revision": True, "split": True, "split_sha256": True, "subjects": True, "samples": True}


class Revision(NamedTuple):
    """A state of the data that a board takes runs on: its hash, a split, and the hash of the split's sample ids."""

    revision: str
    split: str
    split_sha256: str
    subjects: int
    samples: int


class Declared(NamedTuple):
    """What the head of a card says."""

    track: str
    dataset: str
    licence: str
    revisions: tuple[Revision, ...]


def revision_of(run: Mapping[str, Any]) -> Revision:
    """Return the data that a run is on, by its `robench.leaderboard.record.run_facts`."""
    data = run["dataset"]
    return Revision(data["revision"], data["split"] or "all", data["split_sha256"], data["subjects"], data["samples"])


def check_declared(declared: Declared, run: Mapping[str, Any]) -> None:
    """Check that a run is on data that its board takes.

    Raises:
        NotComparable: If it is not.
    """
    ours = revision_of(run)
    known = {(each.revision, each.split_sha256) for each in declared.revisions}
    if run["dataset"]["name"] != declared.dataset or (ours.revision, ours.split_sha256) not in known:
        raise NotComparable(
            "The board does not take runs on these data",
            got=f"{run['dataset']['name']} {ours.revision[:12]}, samples {ours.split_sha256[:12]}",
            expected=f"{declared.dataset} " + " or ".join(f"{r[:12]}, samples {s[:12]}" for r, s in sorted(known)),
            hint="make the data as the board's CARD.md says; a maintainer adds a revision to its head",
        )


def read_card(text: str, path: Path) -> Declared:
    """Read the head of a card: YAML between two lines ``---``.

    Raises:
        Mismatch: If there is none, or it does not say what it must.
    """
    begin, _, rest = text.partition("\n")
    head, found, _ = rest.partition("\n---\n")
    if begin.strip() != "---" or not found:
        raise Mismatch(f"{path} has no head", expected="YAML between two lines of ---")
    reader = NodeReader(path)
    try:
        fields = reader.mapping(compose_text(head, path, "card"), _HEAD, "the card's head")
        said = {name: reader.text(fields[name], name) for name in ("schema_version", "track", "dataset", "licence")}
        revisions = []
        for node in reader.items(fields["revisions"], "revisions"):
            one = {key: reader.text(value, key) for key, value in reader.mapping(node, _REVISION, "a revision").items()}
            revisions.append(
                Revision(one["revision"], one["split"], one["split_sha256"], int(one["subjects"]), int(one["samples"]))
            )
    except (UsageError, ValueError) as error:
        raise Mismatch(f"The head of {path} is damaged", got=str(error)[:300]) from error
    if said["schema_version"] != str(SCHEMA_VERSION) or said["track"] not in TRACKS:
        got = f"schema {said['schema_version']}, track {said['track']}"
        raise Mismatch(f"The head of {path} is not understood", got=got, expected=f"schema {SCHEMA_VERSION}")
    return Declared(said["track"], said["dataset"], said["licence"], tuple(revisions))


def card_text(entries: Sequence[Entry]) -> str:
    """Return the card of a new board, from the entries that open it (at least one)."""
    first = entries[0].record.run
    data, card = first["dataset"], dataset_card(first["dataset"]["name"])
    revisions = sorted({revision_of(entry.record.run) for entry in entries})
    lines = [
        "---",
        f"schema_version: {SCHEMA_VERSION}",
        f"track: {first['track']}",
        f"dataset: {_quoted(data['name'])}",
        f"licence: {_quoted(str(card.get('licence') or 'unknown'))}",
        "revisions:",
    ]
    for each in revisions:
        values = (each.revision, _quoted(each.split), each.split_sha256, each.subjects, each.samples)
        pairs = [f"{key}: {value}" for key, value in zip(_REVISION, values, strict=True)]
        lines += [f"  - {pairs[0]}", *(f"    {pair}" for pair in pairs[1:])]
    lines += ["---", "", f"# {_cell(data['name'])}, {first['track']}", "", _TRACK[first["track"]], ""]
    lines += _data_section(first, card, entries)
    lines += _recipes_section(entries)
    lines += _metrics_section(entries)
    lines += [
        "## How it is read",
        "",
        "* Lines rank together only if they agree in `track`, `dataset`, `cset_id`, `protocol_sha` and `metric`: the",
        "  same pictures and masks under the same measure. Ranks are computed by whoever looks, and stored nowhere.",
        "* `ratio_gm` is the headline: corrupted by own clean score, the geometric mean over corruptions.",
        "* Brackets are 95 % intervals over subjects; models whose intervals overlap are not told apart.",
        "* A failure counts with a declared penalty: the error of mean-body on that sample. None is left out.",
        "* `rce` divides by the errors of the reference that `rce_ref` names; it is an entry of this board.",
        "* Values of an older version of a metric are stale: they are shown, and rank with nobody else's.",
        "",
        "docs/leaderboards.md says how to add an entry; `robench leaderboard verify` recomputes every value.",
        "",
    ]
    return "\n".join(lines)


def dataset_card(name: str) -> dict[str, Any]:
    """Return what the installed reader of a data set says of it; empty where none is installed."""
    from robench import registry
    from robench.engine.protocol import card_json

    try:
        return card_json(registry.load("datasets", name).card)
    except (UsageError, EnvironmentNotReady):
        return {}


def _data_section(run: Mapping[str, Any], card: Mapping[str, Any], entries: Sequence[Entry]) -> list[str]:
    data = run["dataset"]
    made_by = str((card.get("extra") or {}).get("made_by", ""))
    rows = next((entry.run.rows for entry in entries if entry.run is not None), None)
    views = sorted({float(view) for view in rows["view_id"]}) if rows is not None else []
    lines = ["## Data", "", f"* {_cell(data['name'])}: {_cell(str(card.get('summary') or 'no reader is installed'))}."]
    lines += [f"* Licence: {_cell(str(card.get('licence') or 'unknown'))}."]
    lines += [f"* {data['subjects']} subjects, {data['samples']} samples, split {_cell(data['split'] or 'all')}."]
    lines += [f"* Revision `{data['revision']}`, as `robench data info FOLDER` prints it."]
    if made_by and views:
        command = made_by.format(
            subjects=data["subjects"],
            views=",".join(f"{view:g}" for view in views),
            split=data["split"] or "test",
        )
        lines += [f"* Made by `{command}`."]
    return [*lines, ""]


def _recipes_section(entries: Sequence[Entry]) -> list[str]:
    lines = ["## Recipes", "", "When the board was opened:", ""]
    told = {
        (entry.record.run["recipe"]["name"], recipe_sha(entry.run.rows), entry.record.run["seed"])
        for entry in entries
        if entry.run is not None
    }
    for name, sha, seed in sorted(told):
        lines.append(f"* {_cell(name)}, `{sha[:12]}`, seed {seed}")
    return [*lines, ""]


def _metrics_section(entries: Sequence[Entry]) -> list[str]:
    facts = {
        metric["name"]: metric
        for entry in entries
        for metric in entry.record.run["protocol"]["metrics"]
        if metric["name"] in METRICS
    }
    lines = [
        "## Metrics",
        "",
        "| metric | version | unit | better | points | seed |",
        "| --- | --- | --- | --- | ---: | ---: |",
    ]
    for name in (name for name in METRICS if name in facts):
        told = [facts[name].get(key) for key in ("version", "unit", "direction", "n_points", "seed")]
        lines.append(f"| `{name}` | " + " | ".join(_cell(str(value)) for value in told) + " |")
    named = sorted({entry.record.reference.named for entry in entries if entry.record.reference is not None})
    reference = ", ".join(f"`{name}`" for name in named) or "none"
    return [*lines, "", f"Reference when the board was opened: {reference}.", ""]


def _quoted(text: str) -> str:
    """Return a text as a YAML scalar."""
    return json.dumps(text, ensure_ascii=True)


def _cell(text: str) -> str:
    """Return a text that Markdown shows as it is."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#!&" else c for c in printable(text))
