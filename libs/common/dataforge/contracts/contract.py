"""Reads `<event>.v<N>.json`: JSON Schema 2020-12 with the annotations of docs/specs/domain.md."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import jsonschema_rs

from dataforge.contracts.document import Node, Section, read_document
from dataforge.contracts.model import Field
from dataforge.contracts.names import NAME_RULE, duration_ms, is_name
from dataforge.contracts.problems import Problems, suggestion

FILE_NAME = re.compile(r"(?P<event>.+)\.v(?P<version>[1-9]\d{0,3})\.json")
MAX_SCALE = 9
DAY_MS = 86_400_000
DIALECT = "https://json-schema.org/draft/2020-12/schema"

_UNWRITABLE = re.compile(r'["\\\x00-\x1f]')

TimeFormat = Literal["date-time", "epoch_ms", "epoch_s"]
FieldType = Literal["string", "integer", "number", "boolean", "object", "array"]
_COMPARABLE: Mapping[str, Any] = {"string": str, "integer": int | float, "number": int | float, "boolean": bool}
_TYPES = ("string", "integer", "number", "boolean", "object", "array")


@dataclass(frozen=True, slots=True)
class ContractFile:
    """A contract as its file says, before the domain's rules and lookups are known."""

    file: Path
    event: str
    version: int
    schema: Mapping[str, Any]
    fields: Mapping[str, Field]
    id_field: str
    time_field: str
    time_format: TimeFormat
    key_field: str | None
    max_ahead_ms: int
    max_age_ms: int
    lines: Mapping[str, int]
    """Field -> its line."""

    def is_date_time(self, name: str) -> bool:
        """Whether a field is the event time as text, which decodes to a time: no text, number or label."""
        return name == self.time_field and self.time_format == "date-time"

    def misfit(self, name: str, value: Any) -> str | None:
        """Why a field cannot be compared with `value`; None where it can."""
        kind = self.fields[name].type
        if kind in ("object", "array"):
            return f"{name!r} is an {kind}; only single values are compared"
        if self.is_date_time(name):
            return f"{name!r} is the event time; windows are by time, conditions are not"
        if value is None:
            return "null is equal to nothing here: a null or missing field fulfils no condition"
        if not isinstance(value, _COMPARABLE[kind]) or (isinstance(value, bool) and kind != "boolean"):
            return f"{name!r} is a {kind}, and {value!r} is not" + (" (put it in quotes)" if kind == "string" else "")
        if isinstance(value, float) and not math.isfinite(value):
            return f"{value!r} is no number to compare with"
        return None


def read_contract(file: Path, problems: Problems) -> ContractFile | None:
    """None where it cannot be used; why is in `problems`."""
    before = len(problems.found)
    name = FILE_NAME.fullmatch(file.name)
    if not name or not is_name(name["event"]):
        problems.add(file, 0, f"a contract is named <event>.v<N>.json, and an event is {NAME_RULE}")
        return None
    root = read_document(file, problems)
    if root is None or len(problems.found) > before:
        return None
    if not isinstance(root.value, dict):
        problems.add(file, root.line, "a contract is a JSON object")
        return None
    if "$schema" in root.value and root.value["$schema"].plain != DIALECT:
        problems.add(file, root.value["$schema"].line, f'"$schema" must be {DIALECT!r}, or may be left away')
        return None
    schema = json.loads(file.read_text(encoding="utf-8"))
    try:
        jsonschema_rs.meta.validate(schema)
    except jsonschema_rs.ValidationError as error:
        at = root.at(error.instance_path)
        problems.add(file, at.line, f"{_named_path(error.instance_path)} is not JSON Schema (2020-12): {error.message}")
        return None
    reader = _Reader(Section(root, "the contract", problems))
    contract = reader.read(file, name["event"], int(name["version"]), schema)
    return contract if len(problems.found) == before else None


class _Reader:
    def __init__(self, root: Section) -> None:
        self.root = root
        self.fields: dict[str, Field] = {}
        self.nodes: dict[str, Node] = {}

    def read(self, file: Path, event: str, version: int, schema: Mapping[str, Any]) -> ContractFile:
        if schema.get("type") != "object":
            self.root.problem('an event is a JSON object: say "type": "object"', self.root.get("type"))
        self._read_fields()
        notes = self.root.section("x-dataforge") or Section(self.root.node, "the contract", self.root.problems)
        if "x-dataforge" not in self.root.entries:
            self.root.problem('the contract needs "x-dataforge": {"id": …, "event_time": …}')
            notes.entries = {}
            return ContractFile(file, event, version, schema, {}, "", "", "date-time", None, 0, 0, {})
        id_field = self._named(notes, "id", ("string", "integer"))
        time_field = self._named(notes, "event_time", ("string", "integer"))
        key_field = self._named(notes, "key", _TYPES, required=False)
        ahead = self._duration(notes, "max_ahead", DAY_MS)
        age = self._duration(notes, "max_age", 366 * DAY_MS)
        for kept in ("tenant", "pii"):  # for later readers of the schema
            notes.get(kept)
        notes.finish()
        return ContractFile(
            file, event, version, schema, self.fields, id_field or "", time_field or "",
            self._time_format(time_field), key_field, ahead, age, {n: node.line for n, node in self.nodes.items()},
        )  # fmt: skip

    def _read_fields(self) -> None:
        properties = self.root.section("properties")
        if properties is None or not properties.entries:
            self.root.problem('the contract needs "properties": the fields of the event')
            return
        required = {str(node.plain) for node in self.root.sequence("required")}
        for name in sorted(required - set(properties.entries)):
            self.root.problem(f'"required" names {name!r}, which is not in "properties"', self.root.get("required"))
        for name, node in properties:
            spec = Section(node, f"field {name!r}", self.root.problems)
            types = _types_of(spec)
            if _UNWRITABLE.search(name):
                spec.problem(f"field {name!r}: a name may not hold quotes, backslashes or control characters")
            scale = spec.scalar("x-scale", int, 0) or 0
            if not 0 <= scale <= MAX_SCALE or (scale and types[:1] != ["number"]):
                spec.problem(f'field {name!r}: "x-scale" is 1 to {MAX_SCALE}, on a "number"', spec.get("x-scale"))
                scale = 0
            if types:
                kind = cast("FieldType", types[0])
                older = _older_names(spec)
                self.fields[name] = Field(name, kind, name in required, "null" in types, scale, older)
                self.nodes[name] = node
        self._check_older_names()

    def _check_older_names(self) -> None:
        """An older name is nobody's name now, and only one field's."""
        had: dict[str, str] = {}
        for name, field in self.fields.items():
            for older in field.renamed_from:
                spec = Section(self.nodes[name], f"field {name!r}", self.root.problems)
                if older in self.fields:
                    spec.problem(f'field {name!r}: "x-renamed-from" names {older!r}, which is still in "properties"')
                elif older in had:
                    spec.problem(f'field {name!r}: "x-renamed-from" names {older!r}, and so does field {had[older]!r}')
                had.setdefault(older, name)

    def _named(self, notes: Section, key: str, types: tuple[str, ...], *, required: bool = True) -> str | None:
        """The field an annotation names; it must be there, of a fitting type, and for `required` never null."""
        name = notes.scalar(key, str) if required else notes.scalar(key, str, None)
        if name is None:
            return None
        found = self.fields.get(name)
        if found is None:
            notes.problem(f'x-dataforge: {key!r} names {name!r}, which is not in "properties"'
                          f"{suggestion(name, self.fields)}", notes.get(key))  # fmt: skip
        elif found.type not in types:
            notes.problem(
                f"x-dataforge: {key!r} is {name!r}, a {found.type}; it must be {' or '.join(types)}", notes.get(key)
            )
        elif required and (found.nullable or not found.required):
            notes.problem(f'{name!r} is the {key!r}: put it into "required", and never null', notes.get(key))
        elif required and found.renamed_from:
            notes.problem(
                f'{name!r} is the {key!r}, whose name stays: "x-renamed-from" is for other fields; a new version of '
                "the contract may name it otherwise", notes.get(key)
            )  # fmt: skip
        return name

    @staticmethod
    def _duration(notes: Section, key: str, default: int) -> int:
        text = notes.scalar(key, str, None)
        value = duration_ms(text) if text is not None else default
        if value is None:
            notes.problem(f"x-dataforge: {key!r} is a duration like 1h or 7d, not {text!r}", notes.get(key))
        return value or default

    def _time_format(self, time_field: str | None) -> TimeFormat:
        node = self.nodes.get(time_field or "")
        if node is None:
            return "date-time"
        spec = Section(node, f"field {time_field!r}", self.root.problems)
        unit = spec.scalar("x-time", str, None)
        if self.fields[time_field or ""].type == "integer":
            if unit not in ("epoch_ms", "epoch_s"):
                spec.problem(f'the event time {time_field!r} is an integer: say "x-time": "epoch_ms" or "epoch_s"')
            return "epoch_s" if unit == "epoch_s" else "epoch_ms"
        if spec.scalar("format", str, None) != "date-time" or unit is not None:
            spec.problem(f'the event time {time_field!r} is a string: say "format": "date-time", without "x-time"')
        return "date-time"


def _types_of(spec: Section) -> list[str]:
    """The field's type first, then "null" where it may be null."""
    node = spec.get("type")
    named = node.plain if node is not None else None
    types = [named] if isinstance(named, str) else list(named) if isinstance(named, list) else []
    plain = [t for t in types if t != "null"]
    if len(plain) != 1 or plain[0] not in _TYPES:
        spec.problem(f'{spec.what} needs one "type" (of {", ".join(_TYPES)}), beside which only "null" may stand')
        return []
    return plain + ["null"] * ("null" in types)


def _older_names(spec: Section) -> tuple[str, ...]:
    """`x-renamed-from`: a name, or several, the newest first."""
    node = spec.get("x-renamed-from")
    named = [] if node is None else node.plain if isinstance(node.value, list) else [node.plain]
    if not all(isinstance(name, str) and name and not _UNWRITABLE.search(name) for name in named):
        spec.problem(f'{spec.what}: "x-renamed-from" is the name that the field had before, or a list of names', node)
        return ()
    return tuple(dict.fromkeys(named))


def _named_path(path: Sequence[str | int]) -> str:
    return "/".join(map(str, path)) or "the contract"
