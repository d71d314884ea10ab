"""Reads `metrics.yaml`: dimensions, and what is measured by them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from dataforge.contracts.contract import ContractFile
from dataforge.contracts.document import Node, Section, read_document
from dataforge.contracts.lookups import Lookups, whole_keys
from dataforge.contracts.model import Condition, Dimension, Measure, MeasureKind, Metric, Rolling
from dataforge.contracts.names import NAME_RULE, duration_ms, is_name
from dataforge.contracts.problems import Problems, suggestion

MINUTE_MS = 60_000
OPS = ("eq", "ne", "lt", "le", "gt", "ge", "in", "not_in")


@dataclass(frozen=True, slots=True)
class MetricsFile:
    lateness_ms: int = 60_000
    ttl_ms: int = 2 * 86_400_000
    label_cap: int = 1_000
    dedupe_ms: int = 600_000
    dimensions: Mapping[str, Mapping[str, Dimension]] = field(default_factory=dict)
    """event -> dimension name -> dimension."""
    metrics: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)
    """event -> metric name -> metric."""


def read_metrics(
    folder: Path, contracts: Mapping[str, ContractFile], lookups: Lookups, problems: Problems
) -> MetricsFile:
    """A domain without the file has no metrics; its events are landed and judged all the same."""
    file = folder / "metrics.yaml"
    root = read_document(file, problems)
    if root is None:
        return MetricsFile(dimensions={e: {} for e in contracts}, metrics={e: {} for e in contracts})
    return _Reader(Section(root, "metrics.yaml", problems), contracts, lookups).read()


class _Reader:
    def __init__(self, root: Section, contracts: Mapping[str, ContractFile], lookups: Lookups) -> None:
        self.root, self.contracts, self.lookups = root, contracts, lookups
        self.dimensions: dict[str, dict[str, Dimension]] = {event: {} for event in contracts}
        self.metrics: dict[str, dict[str, Metric]] = {event: {} for event in contracts}
        self.whole_ms = 0
        """The longest rolling window that is final before the first of it expires."""

    def read(self) -> MetricsFile:
        defaults = MetricsFile()
        lateness = _duration(self.root, "lateness", defaults.lateness_ms)
        ttl = _duration(self.root, "ttl", max(defaults.ttl_ms, 2 * lateness))
        dedupe = _duration(self.root, "dedupe", max(defaults.dedupe_ms, lateness))
        cap = self.root.scalar("label_cap", int, defaults.label_cap)
        if ttl <= lateness:
            self.root.problem(
                "ttl must be longer than lateness: a window must outlive its last event", self.root.get("ttl")
            )
        self.whole_ms = ttl - lateness
        if not isinstance(cap, int) or cap < 1:
            self.root.problem("label_cap must be at least 1", self.root.get("label_cap"))
        dimensions, metrics = self.root.section("dimensions"), self.root.section("metrics")
        for name, node in dimensions or ():
            self._dimension(name, Section(node, f"dimension {name!r}", self.root.problems))
        for name, node in metrics or ():
            self._metric(name, Section(node, f"metric {name!r}", self.root.problems))
        self.root.finish()
        return MetricsFile(lateness, ttl, cap or 1, dedupe, self.dimensions, self.metrics)

    # ---- dimensions
    def _dimension(self, name: str, section: Section) -> None:
        if not is_name(name):
            section.problem(f"dimension {name!r}: a name is {NAME_RULE}")
        source: Any = section.scalar("field", str)
        lookup = section.scalar("lookup", str, None)
        table = self._lookup(lookup, section) if lookup else None
        section.finish()
        holders = [e for e, c in self.contracts.items() if source in c.fields]
        if source is not None and not holders:
            known = {f for c in self.contracts.values() for f in c.fields}
            section.problem(
                f"{section.what}: no event has a field {source!r}{suggestion(source, known)}", section.get("field")
            )
        for event in holders:
            if self.contracts[event].fields[str(source)].type in ("object", "array"):
                section.problem(f"{section.what}: {source!r} is an object or array; a label is a single value")
            if self.contracts[event].is_date_time(str(source)):
                section.problem(f"{section.what}: {source!r} is the event time; windows are by time, labels are not")
            kind = self.contracts[event].fields[str(source)].type
            if lookup and kind not in ("string", "integer"):
                section.problem(f"{section.what}: a lookup needs a string or an integer, and {source!r} is neither")
            labels = whole_keys(table) if table is not None and kind == "integer" else table
            self.dimensions[event][name] = Dimension(name, str(source), labels)

    def _lookup(self, path: str, section: Section) -> Mapping[str, str] | None:
        name, _, column = path.partition(".")
        if name not in self.lookups:
            section.problem(
                f"{section.what}: lookups.yaml has no {name!r}{suggestion(name, self.lookups)}", section.get("lookup")
            )
        elif column not in self.lookups[name]:
            known = [f"{name}.{c}" for c in self.lookups[name]]
            section.problem(f"{section.what}: there is no {path!r}{suggestion(path, known)}", section.get("lookup"))
        else:
            return self.lookups[name][column]
        return {}

    # ---- metrics
    def _metric(self, name: str, section: Section) -> None:
        if not is_name(name):
            section.problem(f"metric {name!r}: a name is {NAME_RULE}")
        event = self._event(section)
        measure_node = section.get("measure")
        by_nodes, window_nodes = section.sequence("by"), section.sequence("windows")
        rolling_nodes, where = section.sequence("rolling"), section.section("where")
        unit, description = section.scalar("unit", str, ""), section.scalar("description", str, "")
        section.finish()
        if event is None:
            return
        contract = self.contracts[event]
        measure = _MeasureReader(section, contract, self.dimensions[event]).read(measure_node)
        windows = self._windows(section, window_nodes)
        rolling = self._rolling(section, rolling_nodes, windows)
        if measure and measure.kind.sketched and (rolling or any(w < MINUTE_MS for w in windows)):
            section.problem(
                f"{section.what}: {measure.kind.value} is kept in windows of 1m and more, and not rolling",
                section.get("windows"),
            )
        by = tuple(dict.fromkeys(self._by(section, event, node) for node in by_nodes)) or ((),)
        conditions = _conditions(where, contract) if where else ()
        if measure and windows:
            self.metrics[event][name] = Metric(name, measure, by, windows, rolling, conditions, unit, description)

    def _event(self, section: Section) -> str | None:
        """An event's name, or `<event>.v<N>` where there are several versions; may be left away where there is one."""
        named = section.scalar("event", str, None)
        if named is None and len(self.contracts) == 1:
            return next(iter(self.contracts))
        matches = [e for e in self.contracts if named in (e, e.rpartition(".v")[0])]
        if len(matches) == 1:
            return matches[0]
        if named is None:
            section.problem(f"{section.what} needs 'event': one of {', '.join(self.contracts)}")
        else:
            section.problem(
                f"{section.what}: 'event' is {named!r}{suggestion(named, self.contracts)}", section.get("event")
            )
        return None

    def _by(self, section: Section, event: str, node: Node) -> tuple[str, ...]:
        if not isinstance(node.value, list):
            section.problem(f"{section.what}: 'by' is a list of lists, like [[store], [store, department], []]", node)
            return ()
        names = tuple(str(n.plain) for n in node.value)
        for name in names:
            if name not in self.dimensions[event]:
                section.problem(
                    f"{section.what}: there is no dimension {name!r}{suggestion(name, self.dimensions[event])}", node
                )
        if len(set(names)) < len(names):
            section.problem(f"{section.what}: 'by' names a dimension twice", node)
        return names if all(name in self.dimensions[event] for name in names) else ()

    @staticmethod
    def _windows(section: Section, nodes: list[Node]) -> tuple[int, ...]:
        if not nodes:
            section.problem(f"{section.what} needs 'windows', like [10s, 1m, 1h]")
        sizes: list[int] = []
        for node in nodes:
            size = duration_ms(node.plain)
            if size is None or size < 1_000:
                section.problem(
                    f"{section.what}: a window is a duration of at least 1s, like 10s or 1h, not {node.plain!r}", node
                )
            else:
                sizes.append(size)
        windows = tuple(sorted(set(sizes)))
        if any(size % windows[0] for size in windows):
            section.problem(f"{section.what}: every window must be a multiple of the smallest", section.get("windows"))
        return windows

    def _rolling(self, section: Section, nodes: list[Node], windows: tuple[int, ...]) -> tuple[Rolling, ...]:
        found: list[Rolling] = []
        for node in nodes:
            entry = Section(node, f"{section.what}: rolling", section.problems)
            size, every = _duration(entry, "size", 0), _duration(entry, "every", 0)
            entry.finish()
            if not size or not every or size % every or every not in windows:
                entry.problem(
                    f"{entry.what} is {{size: 5m, every: 10s}}: size a multiple of every, and every one of the windows"
                )
            elif size > self.whole_ms:
                entry.problem(
                    f"{entry.what}: what it is merged from expires before it is final; make ttl at least its size and "
                    "the lateness"
                )
            else:
                found.append(Rolling(size, every))
        if len({rolling.size_ms for rolling in found}) < len(set(found)):
            section.problem(f"{section.what}: two rolling windows have one size", section.get("rolling"))
        return tuple(sorted(set(found), key=lambda rolling: rolling.size_ms))


@dataclass(frozen=True, slots=True)
class _MeasureReader:
    section: Section
    contract: ContractFile
    dimensions: Mapping[str, Dimension]

    def read(self, node: Node | None) -> Measure | None:
        what = self.section.what
        if node is None:
            self.section.problem(f"{what} needs 'measure', like count or {{sum: amount}}")
            return None
        if node.value == "count":
            return Measure(MeasureKind.COUNT)
        if not isinstance(node.value, dict) or len(node.value) != 1:
            self.section.problem(
                f"{what}: 'measure' is count, or one of {', '.join(MeasureKind)} with what it measures", node
            )
            return None
        [(name, inner)] = node.value.items()
        if name not in set(MeasureKind):
            self.section.problem(f"{what}: there is no measure {name!r}{suggestion(name, MeasureKind)}", node)
            return None
        kind = MeasureKind(name)
        match kind:
            case MeasureKind.RATIO:
                return self._ratio(Section(inner, f"{what}: ratio", self.section.problems))
            case MeasureKind.QUANTILES:
                return self._quantiles(Section(inner, f"{what}: quantiles", self.section.problems))
            case MeasureKind.TOP_K:
                return self._top_k(Section(inner, f"{what}: top_k", self.section.problems))
            case _:
                numeric = kind not in (MeasureKind.DISTINCT, MeasureKind.COUNT)
                exact = kind in (MeasureKind.SUM, MeasureKind.AVG)
                return Measure(kind, self._source(inner, numeric=numeric, exact=exact))

    def _source(self, node: Node | None, *, numeric: bool, exact: bool = False) -> str:
        """A field; where no number is needed, a dimension will do as well."""
        name, known = str(node.plain) if node is not None else "", set(self.contract.fields)
        found = self.contract.fields.get(name)
        if found is None and not numeric and name in self.dimensions:
            return name
        if found is None:
            options = known if numeric else known | set(self.dimensions)
            self.section.problem(f"{self.section.what}: there is no field {name!r}{suggestion(name, options)}", node)
        elif numeric and found.type not in ("integer", "number"):
            self.section.problem(f"{self.section.what}: {name!r} is a {found.type}, not a number", node)
        elif exact and found.type == "number" and not found.scale:
            self.section.problem(
                f'{self.section.what}: to add up {name!r} exactly, give it its decimals: "x-scale" in the contract',
                node,
            )
        elif not numeric and found.type in ("object", "array"):
            self.section.problem(f"{self.section.what}: {name!r} is an {found.type}, not a single value", node)
        elif self.contract.is_date_time(name):
            self.section.problem(f"{self.section.what}: {name!r} is the event time, which windows are for", node)
        return name

    def _terms(self, section: Section, key: str) -> tuple[tuple[int, str], ...]:
        node = section.get(key)
        nodes = node.value if node is not None and isinstance(node.value, list) else [node] if node is not None else []
        if not nodes:
            section.problem(f"{section.what} needs {key!r}: a field, or a list of fields to add up")
        terms: list[tuple[int, str]] = []
        for term in nodes:
            text = str(term.plain)
            sign = -1 if text.startswith("-") else 1
            bare = Node(term.file, term.line, text.removeprefix("-").strip())
            terms.append((sign, self._source(bare, numeric=True, exact=True)))
        return tuple(terms)

    def _ratio(self, section: Section) -> Measure:
        top, bottom = self._terms(section, "of"), self._terms(section, "to")
        section.finish()
        return Measure(MeasureKind.RATIO, numerator=top, denominator=bottom)

    def _quantiles(self, section: Section) -> Measure:
        source = self._source(section.get("field"), numeric=True)
        ranks = [node.plain for node in section.sequence("at")]
        section.finish()
        if not ranks or not all(isinstance(r, int | float) and 0 <= r <= 1 for r in ranks):
            section.problem(f"{section.what} needs 'at': ranks from 0 to 1, like [0.5, 0.99]")
            ranks = []
        return Measure(MeasureKind.QUANTILES, source, quantiles=tuple(float(r) for r in ranks))

    def _top_k(self, section: Section) -> Measure:
        source, k = self._source(section.get("field"), numeric=False), section.scalar("k", int, 10)
        section.finish()
        if not isinstance(k, int) or not 1 <= k <= 100:
            section.problem(f"{section.what}: 'k' is 1 to 100", section.get("k"))
        return Measure(MeasureKind.TOP_K, source, k=k or 10)


def _conditions(section: Section, contract: ContractFile) -> tuple[Condition, ...]:
    """`where: {status: paid}` or `{amount: {ge: 10, lt: 20}, shop: {in: [a, b]}}`; all must hold."""
    found: list[Condition] = []
    for name, node in section:
        if name not in contract.fields:
            section.problem(f"{section.what}: there is no field {name!r}{suggestion(name, contract.fields)}", node)
            continue
        clauses = node.value if isinstance(node.value, dict) else {"eq": node}
        if not clauses:
            section.problem(f"{section.what}: {name!r} needs a value, or one of {', '.join(OPS)} with one", node)
        for op, value in clauses.items():
            if condition := _condition(section, contract, name, op, value):
                found.append(condition)
    return tuple(sorted(found, key=lambda c: (c.field, c.op, repr(c.value))))


def _condition(section: Section, contract: ContractFile, name: str, op: str, node: Node) -> Condition | None:
    plain, many = node.plain, op in ("in", "not_in")
    if op not in OPS:
        wrong: str | None = f"there is no {op!r}{suggestion(op, OPS)}"
    elif many and not (isinstance(plain, list) and plain):
        wrong = f"{op!r} takes a list of values"
    elif contract.fields[name].type == "boolean" and op in ("lt", "le", "gt", "ge"):
        wrong = f"{name!r} is a boolean, which has no order"
    else:
        misfits = (contract.misfit(name, value) for value in (plain if many else [plain]))
        wrong = next((misfit for misfit in misfits if misfit), None)
    if wrong:
        section.problem(f"{section.what}: {wrong}", node)
        return None
    return Condition(name, cast("Literal['eq']", op), tuple(plain) if many else plain)


def _duration(section: Section, key: str, default: int) -> int:
    node = section.get(key)
    if node is None:
        return default
    value: Any = duration_ms(node.plain)
    if value is None:
        section.problem(f"{section.what}: {key!r} is a duration like 30s, 5m, 1h or 7d, not {node.plain!r}", node)
    return value or default or 1
