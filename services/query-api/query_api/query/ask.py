"""A question, from its words to its answer: which query, with which values, over which snapshots, made or kept."""

import asyncio
import difflib
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from dataforge.contracts.model import Domain, Parameter, Query
from dataforge.kpi.catalogue import Catalogue, Unanswerable
from dataforge.runtime import metrics
from dataforge.sql.bind import shape_of
from dataforge.sql.statement import Statement, read
from dataforge.sql.tables import Table, tables_of
from dataforge.sql.values import values_of

from query_api.query.answer import body, content
from query_api.query.cache import Cache, Kept
from query_api.query.catalog import Lake, Located
from query_api.query.engine import Engine, Question
from query_api.query.flights import Flights

_VERSION = 1
"""Of what is kept: another one is another key."""
AD_HOC = "ad hoc"


@dataclass(slots=True)
class _Known:
    """A domain's queries, parsed when they are first asked."""

    domain: Domain
    tables: dict[str, Table]
    statements: dict[str, Statement] = field(default_factory=dict[str, Statement])

    async def statement(self, query: Query) -> Statement:
        if query.name not in self.statements:
            self.statements[query.name] = await asyncio.to_thread(read, query.sql, self.tables, query.parameters)
        return self.statements[query.name]


class Asker:
    """*Guarantees*: an answer is of the tables' current snapshots; who asks the same at the same time shares one run,
    in this process and, with a cache, in all.

    *Raises* `Unanswerable`, `SqlProblem`, `QueryProblem`.
    """

    def __init__(self, catalogue: Catalogue, lake: Lake, engine: Engine, cache: Cache, max_rows: int) -> None:
        self._catalogue, self._lake, self._engine, self._cache = catalogue, lake, engine, cache
        self._max_rows = max_rows
        self._known = {d.name: _Known(d, tables_of(d.events)) for d in catalogue.domains}
        self._flights = Flights[Kept]()

    async def named(self, domain: str | None, name: str, given: Mapping[str, Any], limit: int | None) -> bytes:
        """The answer of a domain's query, as JSON."""
        known = self._known[self._catalogue.domain(domain).name]
        query = known.domain.queries.get(name)
        if query is None:
            raise _no_query(known.domain, name)
        statement = await known.statement(query)
        return await self._asked(known, name, statement, query.parameters, given, min(limit or 2**31, query.max_rows))

    async def ad_hoc(self, domain: str | None, sql: str, limit: int | None) -> bytes:
        """The answer of a query that somebody wrote, as JSON."""
        known = self._known[self._catalogue.domain(domain).name]
        statement = await asyncio.to_thread(read, sql, known.tables)
        return await self._asked(known, AD_HOC, statement, {}, {}, limit or self._max_rows)

    async def _asked(
        self, known: _Known, name: str, statement: Statement, parameters: Mapping[str, Parameter],
        given: Mapping[str, Any], limit: int,
    ) -> bytes:  # fmt: skip
        began_s, max_rows = time.perf_counter(), min(limit, self._max_rows)
        values = values_of(parameters, given)
        shape = shape_of(statement, parameters, values, max_rows)
        located = await self._lake.located(statement.tables)
        key = statement_key(known.domain, statement, parameters)
        question = Question(key, statement, parameters, values, shape, max_rows)
        make = partial(self._made, question, located)
        if statement.volatile:
            kept = Kept(await make(), cached=False)
        else:
            whole = answer_key(self._engine.name, question, located)
            kept = await self._flights.share(whole, partial(self._cache.once, whole, make))
        metrics.QUERIES.labels("kept" if kept.cached else "made").inc()
        about = {
            "domain": known.domain.name,
            "query": name,
            "elapsed_ms": round((time.perf_counter() - began_s) * 1000, 3),
            "cached": kept.cached,
        }
        return body(about, kept.body)

    async def _made(self, question: Question, located: Mapping[str, Located]) -> bytes:
        found = await self._engine.run(question, located)
        return content(found, {name: place.info for name, place in located.items()})


def statement_key(domain: Domain, statement: Statement, parameters: Mapping[str, Parameter]) -> str:
    """The same for queries that mean the same. Pure."""
    kinds = {p.name: (p.type, p.many) for p in parameters.values()}
    return _digest([_VERSION, domain.name, domain.fingerprint, statement.text, kinds])


def answer_key(engine: str, question: Question, located: Mapping[str, Located]) -> str:
    """The same where the answer is; another snapshot of a table is another key. Pure."""
    values = {name: [type(value).__name__, repr(value)] for name, value in question.values.items()}
    snapshots = {name: [place.table.name, place.info.snapshot] for name, place in located.items()}
    return _digest([engine, question.key, values, question.max_rows, snapshots])


def _digest(said: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()


def _no_query(domain: Domain, name: str) -> Unanswerable:
    near = difflib.get_close_matches(name, domain.queries, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(domain.queries) or 'none'}"
    return Unanswerable("unknown_query", f"domain {domain.name} has no query {name!r}", hint)
