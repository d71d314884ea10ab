"""Commits that take rows and position together, and are refused where another writer was there first."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from py4j.protocol import Py4JError
from pyspark.java_gateway import ensure_callback_server_started
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lake.position import PROPERTY, Head, Places, write
from lake.tables import Table


def overwrite(
    rows: DataFrame,
    table: Table,
    where: str,
    head: Head,
    places: Places | None,
    said: Mapping[str, str] | None = None,
    *,
    in_order: bool = False,
) -> None:
    """Replace what `where` names, which must be whole files or nothing, by `rows`; from now on it is at `places`, or
    where it was: a commit that says no place never takes the table back to an older one.
    `said`: further properties of the snapshot. Rows that are `in_order` are written where they are, without being
    distributed and sorted as the table says.

    *Guarantees*: all or nothing; refused (an error of Spark's) where, since `head`, another commit has added or
    removed rows that `where` names. Two writers from one head cannot both bring their rows.
    """
    writer = rows.writeTo(table.name)
    position = {} if places is None else {PROPERTY: write(places)}
    for name, value in {**(said or {}), **position}.items():
        writer = writer.option(f"snapshot-property.{name}", value)
    if head.snapshot is not None:
        writer = writer.option("validate-from-snapshot-id", str(head.snapshot))
    if in_order:
        writer = writer.option("use-table-distribution-and-ordering", "false").option("fanout-enabled", "true")
    writer.option("isolation-level", "serializable").overwrite(F.expr(where))


def moving_to(spark: SparkSession, places: Places, work: Callable[[], None]) -> None:
    """Do something whose commit, by a statement of SQL, is to have this position: a statement takes no options.

    *Guarantees*: what `work` raises is raised.
    """
    gateway: Any = spark.sparkContext._gateway  # Spark's own way to be called back, as for foreachBatch
    ensure_callback_server_started(gateway)
    called, jvm = _Called(work), gateway.jvm
    properties = jvm.java.util.HashMap()
    properties.put(PROPERTY, write(places))
    metadata = jvm.org.apache.iceberg.spark.CommitMetadata
    try:
        metadata.withCommitProperties(properties, called, jvm.java.lang.Class.forName("java.lang.RuntimeException"))
    except Py4JError:
        if called.error is None:
            raise
    if called.error is not None:
        raise called.error


class _Called:
    """A `java.util.concurrent.Callable`."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self.error: BaseException | None = None

    def call(self) -> None:
        try:
            self._work()
        except BaseException as error:  # it is for our caller, not for Java
            self.error = error
            raise

    class Java:
        implements: ClassVar = ["java.util.concurrent.Callable"]
