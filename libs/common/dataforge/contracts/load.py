"""Reads domain folders. The grammar is docs/specs/domain.md; the result is `dataforge.contracts.model`."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec

from dataforge.contracts.compile import UncompilableError, compile_contract
from dataforge.contracts.contract import FILE_NAME, ContractFile, read_contract
from dataforge.contracts.document import Section, read_document
from dataforge.contracts.lookups import Lookups, read_lookups
from dataforge.contracts.metrics import MetricsFile, read_metrics
from dataforge.contracts.model import Contract, Domain, EventType
from dataforge.contracts.names import NAME_RULE, is_name
from dataforge.contracts.problems import DomainError, Problem, Problems
from dataforge.contracts.quality import QualityFile, read_quality
from dataforge.contracts.queries import read_queries

DEFAULT_PARTITIONS = 4


def load_domains(paths: Sequence[Path], *, queries: bool = False) -> list[Domain]:
    """Every path is a domain folder, or a folder of domain folders. Ordered by name; `queries` as for `load_domain`.

    *Raises* `DomainError` with every problem of every folder.
    """
    problems: list[Problem] = []
    domains: dict[str, tuple[Domain, Path]] = {}
    for folder in _folders(paths, problems):
        try:
            domain = load_domain(folder, queries=queries)
        except DomainError as error:
            problems += error.problems
            continue
        if domain.name in domains and domains[domain.name][1].resolve() != folder.resolve():
            problems.append(Problem(folder, 0, f"{domains[domain.name][1]} is a domain {domain.name!r} already"))
        domains[domain.name] = (domain, folder)
    if problems:
        raise DomainError(problems)
    return [domain for _, (domain, _) in sorted(domains.items())]


def _folders(paths: Iterable[Path], problems: list[Problem]) -> list[Path]:
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            problems.append(Problem(path, 0, "there is no such folder"))
        elif is_domain(path):
            found.append(path)
        else:
            inside = sorted(child for child in path.iterdir() if child.is_dir() and is_domain(child))
            if not inside:
                problems.append(Problem(path, 0, "holds no contract (<event>.v<N>.json), nor a folder with one"))
            found += inside
    return found


def is_domain(folder: Path) -> bool:
    return (folder / "domain.yaml").is_file() or any(FILE_NAME.fullmatch(f.name) for f in folder.glob("*.json"))


def load_domain(folder: Path, *, queries: bool = False) -> Domain:
    """With `queries`, those too: only who runs or checks them pays for a parser of SQL. *Raises* `DomainError`."""
    problems = Problems()
    if not folder.is_dir():
        problems.add(folder, 0, "there is no such folder")
        problems.raise_any()
    name, description, partitions = _identity(folder, problems)
    read = [read_contract(file, problems) for file in sorted(folder.glob("*.json"))]
    contracts = {f"{c.event}.v{c.version}": c for c in read if c}
    if not contracts and not problems.found:
        problems.add(folder, 0, "holds no contract: a file <event>.v<N>.json")
    lookups = read_lookups(folder, problems)
    problems.raise_any()  # what refers to a contract or a lookup is read only once these are whole
    quality = read_quality(folder, contracts, lookups, problems)
    metrics = read_metrics(folder, contracts, lookups, problems)
    problems.raise_any()
    events = tuple(_event_type(name, c, quality, metrics, e) for e, c in contracts.items())
    for event, c in zip(events, contracts.values(), strict=True):
        _try_compiling(event.contract, c, problems)
    named = read_queries(folder, events, problems) if queries else {}
    problems.raise_any()
    stamp = _stamp([[e.contract.fingerprint for e in events], repr(metrics), _stamp_of(lookups)])
    return Domain(name, partitions, events, lookups, stamp, description, folder, named)


def _identity(folder: Path, problems: Problems) -> tuple[str, str, int]:
    """`domain.yaml` is optional: the folder's name is the domain's."""
    name, description, partitions = folder.resolve().name, "", DEFAULT_PARTITIONS
    named_at = (folder, 0)
    root = read_document(folder / "domain.yaml", problems)
    if root is not None:
        section = Section(root, "domain.yaml", problems)
        name = section.scalar("name", str, name)
        description = section.scalar("description", str, "")
        partitions = section.scalar("partitions", int, DEFAULT_PARTITIONS)
        section.finish()
        if node := section.get("name"):
            named_at = (node.file, node.line)
        if not 1 <= partitions <= 1000:
            section.problem("partitions must be 1 to 1000", section.get("partitions"))
    if not is_name(name):
        problems.add(*named_at, f"the domain's name is {name!r}; it must be {NAME_RULE}")
    return name, description, partitions


def _event_type(domain: str, c: ContractFile, quality: QualityFile, metrics: MetricsFile, key: str) -> EventType:
    rules = quality.rules[key]
    shown = [(r.name, r.field, r.check, _comparable(r.value), r.action) for r in rules]
    contract = Contract(
        domain, c.event, c.version, c.schema, c.fields, c.id_field, c.time_field, c.time_format, c.key_field,
        c.max_ahead_ms, c.max_age_ms, _stamp([c.schema, shown]),
    )  # fmt: skip
    return EventType(
        contract, rules, metrics.dimensions[key], metrics.metrics[key], metrics.lateness_ms, metrics.ttl_ms,
        metrics.label_cap, metrics.dedupe_ms, quality.expectations[key],
    )  # fmt: skip


def _try_compiling(contract: Contract, c: ContractFile, problems: Problems) -> None:
    """What only shows when it is used (a pattern, a `$ref`) is a problem of the file, not of a worker's start."""
    try:
        compile_contract(contract)
    except UncompilableError as error:
        problems.add(c.file, c.lines.get(error.field or "", 0), str(error))


def _comparable(value: Any) -> Any:
    """A set by its digest: the keys of a lookup are many."""
    return crc32("\n".join(sorted(map(repr, value))).encode()) if isinstance(value, frozenset) else repr(value)


def _stamp(content: list[Any]) -> int:
    """The same for the same content on every machine: dictionaries sorted, sets listed in order."""
    return crc32(json.dumps(content, sort_keys=True, default=repr).encode())


def _stamp_of(lookups: Lookups) -> int:
    """As `_stamp`, of texts alone, and many of them."""
    return crc32(msgspec.json.encode(lookups, order="sorted"))
