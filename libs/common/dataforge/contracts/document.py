"""YAML and JSON files as values that remember the line they came from.

JSON is read by the same parser: YAML 1.2's flow style covers it, and every value keeps its line.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dataforge.contracts.problems import Problems, suggestion

_MISSING: Any = object()


@dataclass(frozen=True, slots=True)
class Node:
    """A value in a file. `value` is plain: children of a mapping or list are reached through the node."""

    file: Path
    line: int
    value: Any
    """A scalar; or `{key: Node}`; or `[Node]`."""

    @property
    def plain(self) -> Any:
        """The value without nodes in it."""
        if isinstance(self.value, dict):
            return {k: v.plain for k, v in self.value.items()}
        if isinstance(self.value, list):
            return [v.plain for v in self.value]
        return self.value


class _Loader(yaml.SafeLoader):
    """Safe, and without YAML's surprises: `yes` and dates stay strings."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag not in ("tag:yaml.org,2002:timestamp",)]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_document(file: Path, problems: Problems) -> Node | None:
    """None where the file is missing, empty or no document; a broken one is a problem."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        problems.add(file, 0, f"cannot be read: {error}")
        return None
    try:
        loader = _Loader(text.replace("\t", "  ") if file.suffix == ".json" else text)
        try:
            root = loader.get_single_node()
            return _convert(loader, root, file, problems) if root is not None else None
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        problems.add(file, line, f"is not valid {'JSON' if file.suffix == '.json' else 'YAML'}: {error.problem}")
        return None


def _convert(loader: _Loader, node: yaml.Node, file: Path, problems: Problems) -> Node:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Node] = {}
        for key_node, value_node in node.value:
            key = str(loader.construct_object(key_node))
            if key in found:
                problems.add(file, key_node.start_mark.line + 1, f"{key!r} is there twice; remove one")
            child = _convert(loader, value_node, file, problems)
            found[key] = Node(file, key_node.start_mark.line + 1, child.value)
        return Node(file, line, found)
    if isinstance(node, yaml.SequenceNode):
        return Node(file, line, [_convert(loader, child, file, problems) for child in node.value])
    return Node(file, line, loader.construct_object(node))


class Section:
    """A mapping whose keys are known: reads typed values, and reports what does not fit."""

    def __init__(self, node: Node, what: str, problems: Problems) -> None:
        self.node, self.what, self.problems = node, what, problems
        self._read: set[str] = set()
        self.entries: dict[str, Node] = {}
        if isinstance(node.value, dict):
            self.entries = node.value
        elif node.value is not None:
            problems.add(node.file, node.line, f"{what} must be a mapping (key: value), not {node.plain!r}")

    def problem(self, message: str, at: Node | None = None) -> None:
        where = at or self.node
        self.problems.add(where.file, where.line, message)

    def __iter__(self) -> Iterator[tuple[str, Node]]:
        self._read |= set(self.entries)
        return iter(self.entries.items())

    def get(self, key: str) -> Node | None:
        self._read.add(key)
        return self.entries.get(key)

    def section(self, key: str) -> "Section | None":
        node = self.get(key)
        return Section(node, f"{self.what}: {key}", self.problems) if node is not None else None

    def scalar(self, key: str, kind: type | tuple[type, ...], default: Any = _MISSING) -> Any:
        """A value of that type. A missing one without a default, or another type, is a problem (and None)."""
        node = self.get(key)
        if node is None:
            if default is _MISSING:
                self.problem(f"{self.what} needs {key!r}")
                return None
            return default
        if not isinstance(node.value, kind) or (isinstance(node.value, bool) and bool not in _types(kind)):
            names = " or ".join(_NAMES.get(t, t.__name__) for t in _types(kind))
            self.problem(f"{self.what}: {key!r} must be {names}, not {node.plain!r}", node)
            return None if default is _MISSING else default
        return node.value

    def sequence(self, key: str) -> list[Node]:
        node = self.get(key)
        if node is None:
            return []
        if not isinstance(node.value, list):
            self.problem(f"{self.what}: {key!r} must be a list, not {node.plain!r}", node)
            return []
        return node.value

    def finish(self, *known: str) -> None:
        """Everything that is there and nobody asked for is a problem."""
        for key, node in self.entries.items():
            if key not in self._read:
                options = self._read | set(known)
                self.problem(f"{self.what} has no {key!r}{suggestion(key, options)}", node)


_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "a mapping"}


def _types(kind: type | tuple[type, ...]) -> tuple[type, ...]:
    return kind if isinstance(kind, tuple) else (kind,)
