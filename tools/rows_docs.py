"""Write the tables of columns of docs/rows.md from `robench.schema`; ``--check`` only compares."""

from __future__ import annotations

import sys
from pathlib import Path

from robench.io.files import write_text_atomic
from robench.schema import SCHEMA, SCHEMA_VERSION

PAGE = Path(__file__).resolve().parents[1] / "docs" / "rows.md"
BEGIN, END = "<!-- columns: tools/rows_docs.py -->\n", "<!-- end of columns -->\n"
HEADS = ("| Column | Type | Holds | Null where | Since |", "| --- | --- | --- | --- | ---: |")


def columns() -> str:
    """Return the tables: one a group of columns."""
    lines = [f"The columns of schema version {SCHEMA_VERSION}:", ""]
    for group in dict.fromkeys(column.group for column in SCHEMA.values()):
        lines += [
            f"### {group}",
            "",
            "| Column | Type | Holds | Null where | Since |",
            "| --- | --- | --- | --- | ---: |",
        ]
        for name, column in SCHEMA.items():
            if column.group == group:
                kind, null = column.kind, column.null or "never"
                lines.append(f"| `{name}` | {kind} | {column.meaning} | {null} | {column.since} |")
        lines.append("")
    return "\n".join(lines)


def with_columns(page: str) -> str:
    """Return a page whose tables are those of today's schema.

    Raises:
        ValueError: If it has no place for them.
    """
    head, rest = page.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}{columns()}{END}{tail}"


def main() -> int:
    """Write the page, or with ``--check`` return 1 if it would change."""
    old = PAGE.read_text(encoding="utf-8")
    new = with_columns(old)
    if "--check" not in sys.argv[1:]:
        write_text_atomic(PAGE, new)
        return 0
    if new != old:
        sys.stderr.write(f"{PAGE} is not what robench.schema says; run: python tools/rows_docs.py\n")
    return int(new != old)


if __name__ == "__main__":
    raise SystemExit(main())
