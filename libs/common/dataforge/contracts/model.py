"""What a domain folder means once it has been read and checked. Pure values; docs/specs/domain.md is the grammar."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

OTHER = "__other__"
"""The one row that takes every label value past the cap."""
UNKNOWN = "__unknown__"
"""The label of a null field, or of a value that a lookup does not hold."""


class MeasureKind(StrEnum):
    COUNT = "count"
    SUM = "sum"
    MIN = "min"
    MAX = "max"
    AVG = "avg"
    RATIO = "ratio"
    DISTINCT = "distinct"
    QUANTILES = "quantiles"
    TOP_K = "top_k"

    @property
    def sketched(self) -> bool:
        return self in (MeasureKind.DISTINCT, MeasureKind.QUANTILES, MeasureKind.TOP_K)


@dataclass(frozen=True, slots=True)
class Field:
    """One top-level field of an event."""

    name: str
    type: Literal["string", "integer", "number", "boolean", "object", "array"]
    required: bool = True
    nullable: bool = False
    scale: int = 0
    """Decimal digits kept: a `number` with scale 2 folds as an integer count of hundredths."""
    renamed_from: tuple[str, ...] = ()
    """Names that it had before, for who keeps columns."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """Something a metric is grouped by: a field, or what a lookup gives for a field."""

    name: str
    field: str
    lookup: Mapping[str, str] | None = dataclasses.field(default=None, hash=False, compare=False)
    """str(field value) -> label, of every value that an event can have. None: the field's own value is the label."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One clause of a metric's `where`; all clauses must hold. `value` is a tuple for in / not_in."""

    field: str
    op: Literal["eq", "ne", "lt", "le", "gt", "ge", "in", "not_in"]
    value: Any


@dataclass(frozen=True, slots=True)
class Measure:
    """How events become a number.

    `field` is None only for count and ratio. A ratio is `numerator / denominator`, each the sum of a
    field over the same events (a field name, or a tuple of (sign, field) terms added up).
    """

    kind: MeasureKind
    field: str | None = None
    numerator: tuple[tuple[int, str], ...] = ()
    denominator: tuple[tuple[int, str], ...] = ()
    quantiles: tuple[float, ...] = ()
    k: int = 10
    """How many items a top_k shows."""


@dataclass(frozen=True, slots=True)
class Rolling:
    size_ms: int
    every_ms: int


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    measure: Measure
    by: tuple[tuple[str, ...], ...]
    """Dimension sets; () is the total."""
    windows_ms: tuple[int, ...]
    rolling: tuple[Rolling, ...] = ()
    where: tuple[Condition, ...] = ()
    unit: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Contract:
    """One event type: its JSON Schema (2020-12) and the annotations DataForge reads from it."""

    domain: str
    event: str
    version: int
    schema: Mapping[str, Any] = dataclasses.field(hash=False, compare=False)
    fields: Mapping[str, Field] = dataclasses.field(hash=False, compare=False)
    id_field: str
    time_field: str
    time_format: Literal["date-time", "epoch_ms", "epoch_s"]
    key_field: str | None
    max_ahead_ms: int
    max_age_ms: int
    fingerprint: int
    """crc32 over contract, quality rules and lookups: which judge judged a record."""

    @property
    def name(self) -> str:
        return f"{self.domain}.{self.event}.v{self.version}"

    @property
    def raw_topic(self) -> str:
        return f"raw.{self.name}"

    @property
    def judged_topic(self) -> str:
        return f"judged.{self.name}"

    @property
    def quarantine_topic(self) -> str:
        return f"quarantine.{self.name}"


Check = Literal["minimum", "maximum", "exclusive_minimum", "exclusive_maximum", "in", "not_in", "matches", "in_lookup"]


@dataclass(frozen=True, slots=True)
class QualityRule:
    name: str
    field: str
    check: Check
    value: Any = dataclasses.field(hash=False)
    action: Literal["quarantine", "warn"]
    why: str


class ExpectationKind(StrEnum):
    COMPLETENESS = "completeness"
    RANGE = "range"
    REFERENCES = "references"
    UNIQUENESS = "uniqueness"
    MEAN = "mean"
    FRESHNESS = "freshness"
    VOLUME = "volume"
    DRIFT = "drift"

    @property
    def of_rows(self) -> bool:
        """Whether each event by itself meets it or does not; what is observed is then the share that does."""
        return self in (ExpectationKind.COMPLETENESS, ExpectationKind.RANGE, ExpectationKind.REFERENCES)


@dataclass(frozen=True, slots=True)
class Expectation:
    """Of the events of the last days, as the lake has them: a number is observed, and must lie between two limits."""

    name: str
    kind: ExpectationKind
    fields: tuple[str, ...]
    """None for freshness and volume; one, or for uniqueness one or more."""
    least: float | None
    most: float | None
    days: int
    """So many UTC days of event time, the newest event's among them. 0 for freshness, which needs none."""
    severity: Literal["fail", "warn"]
    why: str
    holds: tuple[tuple[Check, Any], ...] = dataclasses.field(default=(), hash=False)
    """Range, references: what each value that is not null must fulfil."""


@dataclass(frozen=True, slots=True)
class EventType:
    """Everything the platform knows about one event of a domain."""

    contract: Contract
    rules: tuple[QualityRule, ...]
    dimensions: Mapping[str, Dimension] = dataclasses.field(hash=False, compare=False)
    metrics: Mapping[str, Metric] = dataclasses.field(hash=False, compare=False)
    lateness_ms: int
    ttl_ms: int
    """How long a window outlives its end, in log time; longer than lateness."""
    label_cap: int
    dedupe_ms: int
    """How long an event id is remembered, in log time."""
    expectations: tuple[Expectation, ...] = ()
    """Of the lake. They judge no record, so no fingerprint holds them."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a query asks its caller for."""

    name: str
    type: Literal["date", "timestamp", "integer", "number", "text", "enum"]
    many: bool = False
    """A list of these."""
    required: bool = True
    default: Any = None
    """Of the type's own kind, as `minimum` and `maximum` are: a date, an aware datetime, an int, a float, a str; or a
    tuple of these. Null where it may be left out and is then null."""
    minimum: Any = None
    maximum: Any = None
    allowed: tuple[str, ...] = ()
    """Of an enum."""
    description: str = ""

    @property
    def nullable(self) -> bool:
        return not self.required and self.default is None


@dataclass(frozen=True, slots=True)
class Query:
    """A question that has a name; docs/specs/queries.md."""

    name: str
    description: str
    sql: str
    """In Athena's dialect, as its file has it."""
    parameters: Mapping[str, Parameter] = dataclasses.field(hash=False, compare=False)
    max_rows: int


@dataclass(frozen=True, slots=True)
class Domain:
    name: str
    partitions: int
    events: tuple[EventType, ...]
    lookups: Mapping[str, Mapping[str, Mapping[str, str]]] = dataclasses.field(hash=False, compare=False)
    """lookup name -> column -> key -> value."""
    fingerprint: int
    """crc32 over every file of the folder that changes a number."""
    description: str = ""
    folder: Path = dataclasses.field(default=Path(), compare=False)
    """What it was read from."""
    queries: Mapping[str, Query] = dataclasses.field(default_factory=dict, hash=False, compare=False)
    """Empty where they were not asked for: see `load_domain`."""

    def event(self, name: str) -> EventType:
        """By event name or `event.vN`. *Raises* KeyError."""
        for e in self.events:
            if name in (e.contract.event, f"{e.contract.event}.v{e.contract.version}"):
                return e
        raise KeyError(name)
