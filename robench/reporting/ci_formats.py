"""What machines of continuous integration read: JUnit XML, and the annotations of GitHub."""

from __future__ import annotations

from collections.abc import Sequence

from robench.analysis.comparison import Comparison, Line
from robench.errors import printable
from robench.reporting.comparison import more_subjects, printed

_BAD = ("regression", "not shown safe", "not comparable")


def to_junit(comparisons: Sequence[Comparison], *, inconclusive_fails: bool = False) -> str:
    """Return JUnit XML: a suite a comparison, a test case a line; a line without a margin always passes.

    Args:
        comparisons: What was found.
        inconclusive_fails: An inconclusive primary line is a failure; else it is skipped, with its reason.
    """
    from xml.etree import ElementTree

    root = ElementTree.Element("testsuites", name="robench")
    for found in comparisons:
        suite = ElementTree.SubElement(root, "testsuite", name=_xml(f"{found.cand.run_id} against {found.base.run_id}"))
        counts = {"tests": len(found.lines), "failures": 0, "skipped": 0, "errors": 0}
        for line in found.lines:
            row = printed(line)
            name = f"{row.metric}: {row.where}"
            case = ElementTree.SubElement(suite, "testcase", classname="robench.gate", name=_xml(name), time="0")
            kind = _kind(line, inconclusive_fails=inconclusive_fails)
            if kind:
                ElementTree.SubElement(case, kind, message=_xml(message(line)))
                counts["skipped" if kind == "skipped" else "failures"] += 1
            else:
                ElementTree.SubElement(case, "system-out").text = _xml(message(line))
        for key, count in counts.items():
            suite.set(key, str(count))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _kind(line: Line, *, inconclusive_fails: bool) -> str:
    if line.endpoint.margin is None:
        return "skipped" if line.effects.trouble else ""
    # An open secondary endpoint leaves the gate's verdict to the primary one.
    if line.decision.verdict in _BAD or (_is_open(line) and inconclusive_fails):
        return "failure"
    return "skipped" if line.decision.verdict == "inconclusive" else ""


def _is_open(line: Line) -> bool:
    return line.endpoint.primary and line.decision.verdict == "inconclusive"


def _xml(text: str) -> str:
    """Return a text without the characters that XML 1.0 does not have, shown as their codes."""
    return printable(text).replace(chr(0xFFFE), r"\ufffe").replace(chr(0xFFFF), r"\uffff")


def message(line: Line) -> str:
    """Return a line in one sentence."""
    row = printed(line)
    if line.effects.trouble:
        return f"{row.metric}, {row.where}: not comparable, {row.verdict}"
    what = f"{row.metric}, {row.where}: {row.base} to {row.cand}, worse by {row.change} {row.bounds}".rstrip()
    verdict = f", {row.verdict}" if row.verdict else ""
    more = more_subjects(line)
    return f"[{row.mark}] {what}{verdict}" + (f"; {more.rpartition('; ')[2].rstrip('.')}" if more else "")


def to_github(comparisons: Sequence[Comparison], *, inconclusive_fails: bool = False) -> str:
    """Return workflow commands that GitHub shows as annotations: errors, warnings, and one notice a comparison."""
    lines = []
    for found in comparisons:
        judged = [line for line in found.lines if line.endpoint.margin is not None]
        for line in judged:
            if line.decision.verdict in _BAD or (_is_open(line) and inconclusive_fails):
                lines.append(command("error", f"robench: {line.decision.verdict}", message(line)))
            elif _is_open(line):
                lines.append(command("warning", "robench: inconclusive", message(line)))
        title = f"robench: {found.verdict}" if judged else "robench: compared"
        lines.append(command("notice", title, f"{found.cand.run_id} against {found.base.run_id}"))
    return "\n".join(lines) + "\n"


def command(level: str, title: str, text: str) -> str:
    """Return a workflow command; what GitHub would read as its syntax is escaped."""
    escaped = printable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    head = printable(title).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={head}::{escaped}"
