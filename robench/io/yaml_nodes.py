"""YAML that people write, read node by node, so that every complaint names its line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from robench.errors import UsageError

if TYPE_CHECKING:
    import yaml


def compose(path: Path, what: str) -> yaml.Node | None:
    """Read a YAML file as nodes, which know their lines.

    Args:
        path: The file.
        what: What it should be, for messages, such as ``policy``.

    Raises:
        UsageError: If the file cannot be read or is no YAML; the message names the file and the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The {what} {path} cannot be read", got=str(error)) from error
    return compose_text(text, path, what)


def compose_text(text: str, path: Path, what: str) -> yaml.Node | None:
    """Read YAML that lies within a file; arguments and errors as of `compose`, lines counted from the text's first."""
    import yaml

    try:
        root: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError as error:
        raise UsageError(f"{path} is not a {what}", got="lists within lists without end") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error)
        raise UsageError(f"{path}{line} is not valid YAML", got=str(problem)) from error
    return root


class NodeReader:
    """Turns nodes into values, and stops at the first that is wrong.

    Args:
        path: The file, named in messages.
        hint: What to do about a wrong file.
    """

    def __init__(self, path: Path, hint: str = "") -> None:
        self.path, self.hint = path, hint

    def mapping(self, node: yaml.Node | None, keys: Mapping[str, bool], what: str) -> dict[str, yaml.Node]:
        """Return the values of a mapping by key; `keys` says of each known one whether it must be there."""
        import yaml

        if not isinstance(node, yaml.MappingNode):
            self.stop(node, f"{what} is not a mapping", "the keys " + ", ".join(keys))
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self.text(key, "a key")
            if name not in keys:
                self.stop(key, f"{what} has an unknown key '{name}'", f"{', '.join(keys)}{close(name, keys)}")
            if name in found:
                self.stop(key, f"{what} has the key '{name}' twice", "every key once")
            found[name] = value
        missing = [key for key, required in keys.items() if required and key not in found]
        if missing:
            self.stop(node, f"{what} has no '{missing[0]}'", "the keys " + ", ".join(k for k in keys if keys[k]))
        return found

    def items(self, node: yaml.Node, what: str, example: str = "[1, 2, 3]") -> list[yaml.Node]:
        """Return the nodes of a list."""
        import yaml

        if not isinstance(node, yaml.SequenceNode):
            self.stop(node, f"'{what}' is not a list", f"a list such as {example}")
        return list(node.value)

    def text(self, node: yaml.Node, what: str) -> str:
        """Return a single value as its text."""
        import yaml

        if not isinstance(node, yaml.ScalarNode):
            self.stop(node, f"'{what}' is not a single value", "text or a number")
        return str(node.value).strip()

    def one_of(self, node: yaml.Node, what: str, known: Iterable[str]) -> str:
        """Return a text that must be one of some."""
        text, names = self.text(node, what), list(known)
        if text not in names:
            self.stop(node, f"'{what}' cannot be '{text}'", f"{' or '.join(names)}{close(text, names)}")
        return text

    def stop(self, node: yaml.Node | None, what: str, expected: str, hint: str = "") -> NoReturn:
        """Raise a `UsageError` that names the line of a node."""
        line = node.start_mark.line + 1 if node is not None else 1
        raise UsageError(f"{self.path}:{line}: {what}", expected=expected, hint=hint or self.hint)


def close(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` where a known name is close, else an empty string."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean '{found[0]}'?)" if found else ""
