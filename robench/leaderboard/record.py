"""``submission.json``: who an entry is. Everything about it that its rows do not say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robench.engine.protocol import Identity
from robench.errors import Mismatch, RobenchError, UsageError
from robench.io.files import json_text, sha256_bytes
from robench.leaderboard.columns import SCHEMA_VERSION, TRACKS
from robench.leaderboard.machine_paths import paths_in
from robench.leaderboard.submission import Submission, refuse_bad_url
from robench.schema import SCHEMA_VERSION as ROW_SCHEMA

RUN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}@[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}")
"""A run's id; it becomes the name of a folder."""
_HASH = re.compile("[0-9a-f]{64}")
_RUN_TEXTS = ("model", "adapter_version", "checkpoint_sha256", "cset_id", "track")
_DATA_TEXTS = ("name", "revision", "split_sha256")


@dataclass(frozen=True)
class Reference:
    """The entry that another one is measured against: its run, its model, and the hash of its rows."""

    run_id: str
    model: str
    rows_sha256: str

    @property
    def named(self) -> str:
        """What the column ``rce_ref`` says."""
        return f"{self.model}:{self.rows_sha256[:12]}"

    def to_json(self) -> dict[str, str]:
        """Return plain values."""
        return {"run_id": self.run_id, "model": self.model, "rows_sha256": self.rows_sha256}


@dataclass(frozen=True)
class StoredRows:
    """The file of an entry's rows.

    Attributes:
        file_sha256: Of its bytes.
        rows_sha256: `robench.analysis.provenance.rows_sha256`.
        count: How many rows.
        url: Where it lies if not here.
    """

    file_sha256: str
    rows_sha256: str
    count: int
    url: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "count": self.count,
            "file_sha256": self.file_sha256,
            "rows_sha256": self.rows_sha256,
            "url": self.url,
        }


@dataclass(frozen=True)
class Record:
    """An entry, but for its rows.

    Attributes:
        run: What ``run.json`` said, as `run_facts` keeps it.
        rows: Its file of rows.
        submission: What its submitter says.
        reference: What it is measured against, or None.
        lines: Its lines of the tables by file name, where the rows lie elsewhere; else None.
    """

    run: Mapping[str, Any]
    rows: StoredRows
    submission: Submission
    reference: Reference | None = None
    lines: Mapping[str, list[list[str]]] | None = field(default=None, compare=False)

    @property
    def run_id(self) -> str:
        """The run's id."""
        return identity_of(self.run).run_id

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        made = {
            "schema_version": SCHEMA_VERSION,
            "run_id": self.run_id,
            "run": dict(self.run),
            "rows": self.rows.to_json(),
            "submission": self.submission.to_json(),
            "reference": self.reference.to_json() if self.reference is not None else None,
        }
        return made if self.lines is None else {**made, "lines": dict(self.lines)}


def run_facts(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a ``run.json``: what ids hash and what columns say; no folder of any machine.

    Raises:
        UsageError: If it is damaged, or the model's options hold a path.
    """
    try:
        data, recipe, options = about["dataset"], about["recipe"], about.get("options") or {}
        kept: dict[str, Any] = {
            **{name: about[name] for name in _RUN_TEXTS},
            "row_schema": about["schema_version"],
            "protocol": about["protocol"],
            "threads": about.get("threads", 1),
            "parameters": about.get("parameters"),
            "seed": about["seed"],
            "depth": options.get("depth"),
            "recipe": {key: recipe.get(key) or {} if key == "composed" else recipe[key] for key in _RECIPE},
            "dataset": {key: data[key] for key in ("name", "revision", "split", "split_sha256", "samples", "subjects")},
            "versions": dict(about.get("versions") or {}),
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError("The run's run.json is damaged", got=f"{type(error).__name__} {error}") from error
    check_run_facts(kept)
    return kept


_RECIPE = ("name", "version", "composed")


def check_run_facts(run: Mapping[str, Any]) -> None:
    """Check the types of everything that is read later, and that nothing holds a path.

    Raises:
        UsageError: Naming what is wrong.
    """
    try:
        data, recipe, protocol = run["dataset"], run["recipe"], run["protocol"]
        texts = [run[name] for name in _RUN_TEXTS] + [data[name] for name in _DATA_TEXTS]
        texts += [recipe["name"], recipe["version"], protocol["masker"]["name"], *run["versions"].values()]
        texts += [metric[key] for metric in protocol["metrics"] for key in ("name", "version", "unit", "direction")]
        numbers = [run["threads"], run["seed"], run["row_schema"], data["samples"], data["subjects"]]
        sound = (
            all(isinstance(text, str) for text in texts)
            and all(type(number) is int and number >= 0 for number in numbers)
            and (run["parameters"] is None or (type(run["parameters"]) is int and run["parameters"] >= 0))
            and all(isinstance(value, str | None) for value in (run["depth"], data["split"]))
            and isinstance(recipe["composed"], dict)
            and isinstance(protocol.get("model_options", {}), dict)
            and isinstance(protocol["penalty"], dict)
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError("What is said of the run is damaged", got=f"{type(error).__name__} {error}") from error
    if not sound:
        raise UsageError("What is said of the run is damaged", got="a field of another type")
    if run["track"] not in TRACKS:
        raise UsageError("There is no such track", got=run["track"], expected=" or ".join(TRACKS))
    if run["row_schema"] != ROW_SCHEMA:
        raise UsageError("The rows are of another schema", got=str(run["row_schema"]), expected=str(ROW_SCHEMA))
    for name, value in (("cset_id", run["cset_id"]), ("the data's revision", data["revision"])):
        if not _HASH.fullmatch(value):
            raise UsageError(f"{name} is no hash", got=value[:80], expected="64 hexadecimal digits")
    for where, text in paths_in(dict(run)):
        raise UsageError(
            f"'{where}' of the run is a path of a machine",
            got=text,
            expected="a value that means the same to everybody",
            hint="evaluate with a relative path, or with a name",
        )
    if not RUN_ID.fullmatch(identity_of(run).run_id):
        raise UsageError("The name of the model cannot name a run", got=identity_of(run).run_id)


def identity_of(run: Mapping[str, Any]) -> Identity:
    """Return the identity that the facts of a run make."""
    return Identity(
        run["model"], run["adapter_version"], run["checkpoint_sha256"], run["cset_id"], run["protocol"], run["threads"]
    )


def record_from_json(data: Any) -> Record:
    """Return what `Record.to_json` was given; a stranger may have written it.

    Raises:
        Mismatch: If it is another schema, damaged, or does not hash to its own id.
    """
    if not isinstance(data, dict):
        raise Mismatch("The record is damaged", got=type(data).__name__, expected="an object")
    if data.get("schema_version") != SCHEMA_VERSION:
        raise Mismatch(
            "The record is of another schema", got=str(data.get("schema_version"))[:80], expected=str(SCHEMA_VERSION)
        )
    try:
        unknown = sorted(set(data) - {"schema_version", "run_id", "run", "rows", "submission", "reference", "lines"})
        if unknown:
            raise UsageError("The record has an unknown field", got=", ".join(map(str, unknown))[:80])
        check_run_facts(data["run"])
        stored = StoredRows(**data["rows"])
        _check_stored(stored)
        reference = Reference(**data["reference"]) if data["reference"] is not None else None
        if reference is not None and not (
            _is_hash(reference.rows_sha256) and all(isinstance(v, str) for v in reference.to_json().values())
        ):
            raise UsageError("The reference of the record is damaged")
        lines = data.get("lines")
        if (lines is None) != (stored.url is None) or not _are_lines(lines):
            raise UsageError("The lines of the record are damaged", expected="lines where the rows lie elsewhere")
        record = Record(data["run"], stored, Submission.from_json(data["submission"]), reference, lines)
    except (KeyError, TypeError) as error:
        raise Mismatch("The record is damaged", got=f"{type(error).__name__} {error}"[:200]) from error
    except RobenchError as error:
        raise Mismatch(error.what, got=error.got, expected=error.expected) from error
    if data["run_id"] != record.run_id:
        raise Mismatch("The record does not hash to its own id", got=str(data["run_id"])[:160], expected=record.run_id)
    return record


def _check_stored(stored: StoredRows) -> None:
    sound = _is_hash(stored.file_sha256) and _is_hash(stored.rows_sha256) and type(stored.count) is int
    if not sound or stored.count < 1 or not isinstance(stored.url, str | None):
        raise UsageError("What the record says of the rows is damaged")
    if stored.url is not None:
        refuse_bad_url("url", stored.url)


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def _are_lines(lines: Any) -> bool:
    return lines is None or (
        isinstance(lines, dict)
        and all(
            isinstance(table, list)
            and all(isinstance(line, list) and all(isinstance(text, str) for text in line) for line in table)
            for table in lines.values()
        )
    )


def protocol_sha(protocol: Mapping[str, Any], metric: str) -> str:
    """Return the hash of what a value of a metric rests on beside pictures and model.

    That is the schema, the frame, the metric's own facts, the masker and the penalty of a failure: neither the model's
    options nor the other metrics of the run, so that a metric more makes nobody's values incomparable.

    Raises:
        UsageError: If the protocol does not have the metric.
    """
    facts = [found for found in protocol["metrics"] if found["name"] == metric]
    if len(facts) != 1:
        raise UsageError(f"The protocol does not say how '{metric}' is measured", got=f"{len(facts)} entries")
    kept = {name: protocol.get(name) for name in ("schema_version", "frame", "masker", "penalty")}
    return sha256_bytes(json_text({**kept, "metric": facts[0]}).encode())
