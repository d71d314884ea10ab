"""YAML and JSON files as values that remember the line they came from.

JSON is read by the same parser: YAML 1.2's flow style covers it, and every value keeps its line.
"""

import json
import re
from collections.abc import Iterable, Iterator
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

    def at(self, path: Iterable[str | int]) -> "Node":
        """The node at the end of `path`, or the last one on the way that is there."""
        node = self
        for step in path:
            try:
                node = node.value[step]
            except (KeyError, IndexError, TypeError):
                break
        return node


class _Loader(yaml.SafeLoader):
    """Safe, and as YAML 1.2 reads plain words: `no`, `on`, dates, `1:30` and `007` are text, as their author thinks."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(?:0|[1-9][0-9]*)?(?:\.[0-9]+(?:[eE][-+]?[0-9]+)?|\.|[eE][-+]?[0-9]+)", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)


def read_document(file: Path, problems: Problems) -> Node | None:
    """None where the file is missing, empty or no document; a broken one is a problem."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        problems.add(file, 0, f"cannot be read: {error}")
        return None
    return document_of(text, file, problems)


def document_of(text: str, file: Path, problems: Problems) -> Node | None:
    """As `read_document`, of a text that the file holds at the same lines."""
    try:
        if file.suffix == ".json":
            json.loads(text, parse_constant=_no_constant)  # exact about what JSON is, which YAML is not
            text = text.replace("\t", "  ").replace("\x7f", "\\x7f")
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            return _Converter(loader, file, problems).convert(root) if root is not None else None
        finally:
            loader.dispose()
    except json.JSONDecodeError as error:
        problems.add(file, error.lineno, f"is not valid JSON: {error.msg}")
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        problems.add(file, line, f"is not valid {_kind(file)}: {error.problem}")
    except RecursionError:
        problems.add(file, 0, "is nested too deeply to be read")
    except (yaml.YAMLError, ValueError) as error:
        problems.add(file, 0, f"is not valid {_kind(file)}: {error}")
    return None


def _kind(file: Path) -> str:
    return "JSON" if file.suffix == ".json" else "YAML"


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no number in JSON")


class _Converter:
    """YAML's nodes to ours. An alias is the node it names; one that holds itself is a problem."""

    def __init__(self, loader: _Loader, file: Path, problems: Problems) -> None:
        self.loader, self.file, self.problems = loader, file, problems
        self.done: dict[int, Node | None] = {}

    def convert(self, node: yaml.Node) -> Node:
        line = node.start_mark.line + 1
        if id(node) in self.done:
            found = self.done[id(node)]
            if found is None:
                self.problems.add(self.file, line, "an alias (*name) may not stand inside of what it names")
                return Node(self.file, line, None)
            return found
        self.done[id(node)] = None
        if isinstance(node, yaml.MappingNode):
            value: Any = self._mapping(node)
        elif isinstance(node, yaml.SequenceNode):
            value = [self.convert(child) for child in node.value]
        else:
            value = self._scalar(node, line)
        self.done[id(node)] = made = Node(self.file, line, value)
        return made

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.value == "<<":
                self.problems.add(self.file, line, "a key must be plain text; lists and merges (<<) are not read")
                continue
            key = self._text(key_node.value)
            if key in found:
                self.problems.add(self.file, line, f"{key!r} is there twice; remove one")
            found[key] = Node(self.file, line, self.convert(value_node).value)
        return found

    def _scalar(self, node: yaml.Node, line: int) -> Any:
        try:
            value = self.loader.construct_object(node)
        except (ValueError, LookupError, AttributeError) as error:  # a tag (!!int) that its text does not fit
            self.problems.add(self.file, line, f"{node.value!r} cannot be read as {node.tag}: {error}")
            return None
        return self._text(value) if isinstance(value, str) else value

    @staticmethod
    def _text(text: str) -> str:
        """JSON writes what is beyond U+FFFF as two escapes; YAML takes them for two characters."""
        return text.encode("utf-16", "surrogatepass").decode("utf-16")


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
        if node is None or node.value is None:
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
