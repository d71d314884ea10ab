"""Reads `lookups.yaml`: reference tables that give a field's value a label."""

import importlib.util
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.json as ndjson
import pyarrow.parquet as pq

from dataforge.contracts.document import Section, read_document
from dataforge.contracts.names import NAME_RULE, is_name
from dataforge.contracts.problems import Problems, suggestion

Lookups = Mapping[str, Mapping[str, Mapping[str, str]]]
"""lookup name -> column -> str(key) -> str(value); the key column maps to itself."""

_PACKAGE = "package:"
_INTEGER = re.compile(r"-?[0-9]+")


class LookupSource(NamedTuple):
    """What one lookup of the file names."""

    table: pa.Table
    """With its own types."""
    key: str
    columns: list[str]
    section: Section


def read_lookups(folder: Path, problems: Problems) -> dict[str, dict[str, dict[str, str]]]:
    found = _sources(folder, problems, whole=False)
    return {name: _columns(source.table, source.key, source.columns, source.section) for name, source in found}


def whole_keys(table: Mapping[str, str]) -> dict[str, str]:
    """A column as a field of integers reads it: `007` is 7, and what is no integer matches nothing."""
    return {str(int(key)): value for key, value in table.items() if _INTEGER.fullmatch(key)}


def lookup_sources(folder: Path) -> dict[str, LookupSource]:
    """By lookup name, with whole tables. *Raises* `DomainError`."""
    problems = Problems()
    found = dict(_sources(folder, problems, whole=True))
    problems.raise_any()
    return found


def _sources(folder: Path, problems: Problems, *, whole: bool) -> Iterator[tuple[str, LookupSource]]:
    root = read_document(folder / "lookups.yaml", problems)
    if root is None:
        return
    for name, node in Section(root, "lookups.yaml", problems):
        section = Section(node, f"lookup {name!r}", problems)
        if not is_name(name):
            section.problem(f"lookup {name!r}: a name is {NAME_RULE}")
        source, key = section.scalar("source", str), section.scalar("key", str)
        columns = [str(n.plain) for n in section.sequence("columns")]
        section.get("description")
        section.finish()
        if source is None or key is None:
            continue
        table = _read_table(folder, source, section, {key, *columns} if columns and not whole else None)
        if table is not None:
            yield name, LookupSource(table, key, columns, section)


def _read_table(folder: Path, source: str, section: Section, wanted: Collection[str] | None) -> pa.Table | None:
    """At least the columns that are wanted, where it has them."""
    file = _locate(folder, source)
    if file is None or not file.is_file():
        hint = "install that package" if source.startswith(_PACKAGE) else "the path is relative to the domain folder"
        section.problem(f"{section.what}: there is no file {source!r}; {hint}", section.get("source"))
        return None
    try:
        match file.suffix:
            case ".parquet":
                return _read_parquet(file, wanted)
            case ".csv":
                return _read_csv(file)
            case ".json" | ".jsonl" | ".ndjson":
                return ndjson.read_json(file)
    except (pa.ArrowException, OSError) as error:
        section.problem(f"{section.what}: {source!r} cannot be read: {error}", section.get("source"))
        return None
    section.problem(
        f"{section.what}: {source!r} must be .parquet, .csv or .json (one object a line)", section.get("source")
    )
    return None


def _read_parquet(file: Path, wanted: Collection[str] | None) -> pa.Table:
    with pq.ParquetFile(file) as parquet:
        names = parquet.schema_arrow.names
        # Of a file that is not as it should be all is read: the problem is found, and named, by what it has.
        usual = wanted is not None and set(wanted) <= set(names) and len(set(names)) == len(names)
        return parquet.read(columns=list(wanted) if usual and wanted else None)


def _read_csv(file: Path) -> pa.Table:
    """Every column as text: `007` is not 7. An empty cell is null."""
    with csv.open_csv(file) as reader:
        names = reader.schema.names
    types = dict.fromkeys(names, pa.string())
    return csv.read_csv(
        file, convert_options=csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""])
    )


def _locate(folder: Path, source: str) -> Path | None:
    """`package:<python package>/<path>` is a file that an installed package ships; else a path in the folder."""
    if not source.startswith(_PACKAGE):
        return folder / source
    package, _, path = source.removeprefix(_PACKAGE).partition("/")
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    return Path(found.origin).parent / path if found and found.origin else None


def _columns(table: pa.Table, key: str, columns: list[str], section: Section) -> dict[str, dict[str, str]]:
    names = table.column_names
    missing = [name for name in dict.fromkeys((key, *columns)) if name not in names]
    for name in missing:
        section.problem(f"{section.what}: its source has no column {name!r}{suggestion(name, names)}")
    twice = sorted({name for name in (key, *(columns or names)) if names.count(name) > 1})
    for name in twice:
        section.problem(f"{section.what}: its source has the column {name!r} twice")
    if missing or twice:
        return {}
    keys = _texts(table.column(key))
    known = [k for k in keys if k is not None]
    if len(set(known)) < len(known):
        section.problem(f"{section.what}: column {key!r} holds a value twice; a key names one row")
    found = {key: dict(zip(known, known, strict=True))}
    for name in columns or [n for n in names if n != key]:
        pairs = zip(keys, _texts(table.column(name)), strict=True)
        found[name] = {k: v for k, v in pairs if k is not None and v is not None}
    return found


def _texts(column: pa.ChunkedArray) -> list[str | None]:
    """From the columns' own memory: pyarrow's way through scalars takes ten times as long, and the one through NumPy
    imports pandas, as its casts do half of pyarrow; every start of a service would pay that.
    """
    texts: list[str | None] = []
    for chunk in (one for one in column.chunks if len(one)):
        if pa.types.is_integer(chunk.type):
            texts += _present(chunk, map(str, _numbers(chunk)))
        elif pa.types.is_string(chunk.type):
            texts += _present(chunk, _strings(chunk))
        else:
            texts += map(_text, chunk.to_pylist())
    return texts


def _present(chunk: pa.Array, texts: Iterable[str]) -> Iterable[str | None]:
    if not chunk.null_count:
        return texts
    bits = np.unpackbits(np.frombuffer(chunk.buffers()[0], np.uint8), bitorder="little")
    return (text if there else None for text, there in zip(texts, bits[chunk.offset :].tolist(), strict=False))


def _numbers(chunk: pa.Array) -> list[int]:
    return np.frombuffer(chunk.buffers()[1], str(chunk.type))[chunk.offset :][: len(chunk)].tolist()


def _strings(chunk: pa.Array) -> Iterator[str]:
    _, offsets, data = chunk.buffers()
    ends = np.frombuffer(offsets, np.int32)[chunk.offset :][: len(chunk) + 1].tolist()
    text = data.to_pybytes() if data is not None else b""
    return (text[start:end].decode() for start, end in pairwise(ends))


def _text(value: Any) -> str | None:
    """As events write it: true, and 7 for a whole number that a table with gaps keeps as 7.0."""
    if value is None or value != value:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
