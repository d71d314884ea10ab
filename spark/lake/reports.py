"""Where reports go: rows of the table of results, an alert where it is due, and an object that the API reads."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dataforge.alerts import Alert
from dataforge.contracts.model import EventType
from dataforge.quality.report import Finding, Report, Source
from dataforge.quality.stored import newest_reports, store_report
from dataforge.stream.kafka_alerts import KafkaAlerts

from lake import tables
from lake.landing import Bucket
from lake.quality_alerts import due
from lake.schema import RESULTS, ddl

SendAlert = Callable[[Alert], None]
"""*Raises* `Transient` where it may not have been written."""


def kafka_alerts(bootstrap: str) -> SendAlert:
    def send(alert: Alert) -> None:
        async def sent() -> None:
            alerts = KafkaAlerts(bootstrap)
            try:
                await alerts.send(alert)
            finally:
                await alerts.close()

        asyncio.run(sent())

    return send


@dataclass(frozen=True, slots=True)
class Reports:
    """*Guarantees*: a report is published once, however often that is tried: its object is written last, and what has
    one is published. An alert may be sent again, unchanged.
    """

    spark: SparkSession
    bucket: Bucket
    alert: SendAlert

    def publish(self, event: EventType, report: Report) -> None:
        """*Raises* `Transient` where the alert or the object may not be written: publish it again."""
        newest = next(iter(stored(self.bucket, report.event, report.source)), None)
        if newest is not None and newest.run <= report.run:  # the same, or a later one
            return
        report = report.after(newest)
        self._record(event, report)
        for alert in due(report, newest, event.contract):
            self.alert(alert)
        _put(self.bucket, report)

    def _record(self, event: EventType, report: Report) -> None:
        """Its rows are one commit, so all of them are there or none is."""
        table = tables.results(event.contract.domain)
        tables.ensure(self.spark, table)
        same = {"event": report.event, "source": report.source, "run": report.run}
        there = self.spark.table(table.name).where(reduce(and_, (F.col(name) == said for name, said in same.items())))
        if there.isEmpty():
            rows = self.spark.createDataFrame([result(report, one) for one in report.findings], _AS_MADE)
            rows.withColumn("at", F.timestamp_millis("at")).writeTo(table.name).append()


_AS_MADE = ddl(column._replace(type="bigint") if column.name == "at" else column for column in RESULTS)


def result(report: Report, one: Finding) -> tuple[Any, ...]:
    """*Shape*: `RESULTS`, `at` in ms."""
    return (
        report.run, report.event, report.source, report.at_ms, report.snapshot, one.name, one.kind, one.severity,
        one.status, one.observed, one.least, one.most, one.rows, one.failed,
    )  # fmt: skip


def stored(bucket: Bucket, event: str, source: Source, most: int = 1) -> list[Report]:
    """The newest ones, the newest first. *Raises* `Transient`, `Fatal`."""

    async def look() -> list[Report]:
        store = bucket.store()
        await store.open()
        try:
            return await newest_reports(store, event, source, most)
        finally:
            await store.close()

    return asyncio.run(look())


def _put(bucket: Bucket, report: Report) -> None:
    async def put() -> None:
        store = bucket.store()
        await store.open()
        try:
            await store_report(store, report)
        finally:
            await store.close()

    asyncio.run(put())
