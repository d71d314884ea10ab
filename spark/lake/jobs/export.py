"""The lake's tables to Postgres: bronze to `raw`, silver, gold's days and the lookups to `curated`."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec
from pyspark.sql import DataFrame, SparkSession

from dataforge.contracts.lookups import lookup_sources
from dataforge.contracts.model import Domain, EventType
from dataforge.errors import Fatal

from lake import tables
from lake.iceberg import loaded
from lake.jobs.silver import at, portion
from lake.position import Head, Place, current_snapshot, head, head_at, within
from lake.postgres import CURATED, RAW, Postgres, Target, opened
from lake.schema import REPLACED, Column, quoted


class Upto(msgspec.Struct, frozen=True):
    """How much of a table of the lake is loaded."""

    table: str
    """Its UUID: one that was dropped and made anew is another."""
    snapshot: int | None = None
    """Of tables that are loaded as a whole."""
    places: dict[int, Place] = {}
    """Of tables that grow."""


@dataclass(frozen=True, slots=True)
class Export:
    """*Guarantees*: Postgres has of each table what the lake had at gold's position, each row once, and never a part of
    a portion. Run again it adds nothing; of two that run at once, one is refused.
    """

    spark: SparkSession
    url: str | None
    commit_rows: int
    say: Callable[[str], None]

    def run(self, domain: Domain, event: EventType) -> dict[str, int]:
        """Returns table -> rows that came. *Raises* `Fatal`, `Transient` where Postgres does not answer."""
        if self.url is None:
            raise Fatal("DATAFORGE_LAKE_POSTGRES_URL is not set: it says where to export to")
        bronze, silver, gold = tables.of(event).values()
        if not tables.exists(self.spark, silver):
            return {}
        with opened(self.url) as postgres:
            done: dict[str, int] = {}
            now = head(self.spark, gold) if tables.exists(self.spark, gold) else Head(None, {})
            upto = self._beside(silver, gold, now)
            done["raw"] = self._grow(
                postgres, bronze, head(self.spark, bronze), upto, _target(event, RAW, bronze, ("partition", "offset")),
                (quoted("partition"), "judged_offset"),
            )  # fmt: skip
            kept = replace(silver, columns=tuple(column for column in silver.columns if column != REPLACED))
            done["curated"] = self._grow(
                postgres, silver, upto, upto, _target(event, CURATED, kept, ("df_id",)),
                ("df_partition", "df_judged_offset"),
            )  # fmt: skip
            if now.snapshot is not None:
                days = at(self.spark, gold, now).where("`window` = '1d'")
                target = _target(event, CURATED, gold, ("metric", "by", "labels", "start"))
                done["days"] = self._replace(postgres, gold.name, now.snapshot, days, target)
            done["lookups"] = self._lookups(postgres, domain)
        return done

    def _beside(self, silver: tables.Table, gold: tables.Table, now: Head) -> Head:
        """Silver where gold stands now, so that both are of one state of the log. *Raises* `Fatal`."""
        if now.snapshot is None:
            return head(self.spark, silver)
        found = head_at(self.spark, silver, {partition: place.position for partition, place in now.places.items()})
        if found is None:
            raise Fatal(f"{gold.name} stands where no snapshot of {silver.name} does: run the job gold")
        return found

    def _grow(
        self, postgres: Postgres, table: tables.Table, seen: Head, upto: Head, target: Target, place: tuple[str, str]
    ) -> int:
        """Rows of `table`, as of `seen`, up to `upto`. `place`: the columns that say where one was judged."""
        before, source = _read(postgres.ensure(target)), self._uuid(table.name)
        loaded = Head(None, before.places if before and before.table == source else {})
        anew, came = not loaded.places, 0
        while moved := portion(loaded, upto, self.commit_rows):
            positions = {partition: loaded.at(partition).position for partition in moved}
            rows = at(self.spark, table, seen).where(within(positions, moved, *place))
            places = {**loaded.places, **{partition: Place(end) for partition, end in moved.items()}}
            came += postgres.load(rows, target, _write(Upto(source, places=places)), whole=anew)
            loaded, anew = Head(None, places), False
            self.say(f"{target.text}: to {', '.join(f'{p}: {end:,}' for p, end in sorted(moved.items()))}")
        return came

    def _replace(self, postgres: Postgres, name: str, snapshot: int | None, rows: DataFrame, target: Target) -> int:
        """All of it, where it has changed."""
        upto = Upto(self._uuid(name), snapshot)
        if _read(postgres.ensure(target)) == upto:
            return 0
        came = postgres.load(rows, target, _write(upto), whole=True)
        self.say(f"{target.text}: {came:,} rows")
        return came

    def _lookups(self, postgres: Postgres, domain: Domain) -> int:
        came = 0
        for name, source in lookup_sources(domain.folder).items():
            table = tables.lookup(domain.name, name)
            if self.spark.catalog.tableExists(table):
                snapshot, rows = current_snapshot(self.spark, table), self.spark.table(table)
                columns = tuple(Column(*pair) for pair in rows.dtypes)
                target = Target(CURATED, f"{domain.name}_lookup_{name}", columns, (source.key,))
                came += self._replace(postgres, table, snapshot, rows, target)
        return came

    def _uuid(self, name: str) -> str:
        return str(loaded(self.spark, name).uuid())


def _target(event: EventType, schema: str, table: tables.Table, key: tuple[str, ...]) -> Target:
    layer = table.name.rpartition(".")[2].strip("`")
    return Target(schema, f"{event.contract.domain}_{layer}", table.columns, key)


def _read(said: str | None) -> Upto | None:
    return None if said is None else msgspec.json.decode(said, type=Upto)


def _write(upto: Upto) -> str:
    return msgspec.json.encode(upto).decode()
