"""The lake as a program that follows the logs: its wiring, and its life."""

import asyncio
import logging
from typing import NoReturn

from dataforge.runtime import process
from dataforge.runtime.admin import AdminServer
from dataforge.runtime.logs import configure_logging
from dataforge.runtime.tracing import configure_tracing, stop_tracing

from lake import session
from lake.app import chosen_domains, layers
from lake.jobs.silver import Step
from lake.jobs.stream import Stream
from lake.landing import Bucket
from lake.log import JudgedLog
from lake.reports import Reports, kafka_alerts
from lake.settings import LakeSettings
from lake.streaming import Jobs, Streaming

logger = logging.getLogger(__name__)


def stream(settings: LakeSettings, domain: str | None = None, gold_every_s: float | None = None) -> NoReturn:
    """Follow the judged logs until SIGTERM or SIGINT; how it ends: `dataforge.runtime.process`. *Raises* as `build`."""
    chosen = chosen_domains(settings, domain)
    configure_logging("lake", settings.log_level)
    configure_tracing("lake", settings.otlp_endpoint, instance=settings.instance, all_work=True)
    with session.deaf_java():
        spark = session.build(settings)
    reports = Reports(spark, Bucket.of(settings), kafka_alerts(settings.kafka))
    bronze, silver, gold = layers(settings, spark, reports, logger.info)
    taking = Stream(spark, bronze, JudgedLog(spark, settings.kafka), logger.info)
    jobs = Jobs(taking.take, silver.step, lambda event: Step(gold.run(event), 0))
    events = [(event, domain.partitions) for domain in chosen for event in domain.events]
    streaming = Streaming(jobs, events, settings.lake_interval_s, gold_every_s)
    admin = AdminServer(
        settings.admin_port, streaming.checks, host=settings.admin_host, alive=streaming.watchdog.problem
    )

    async def main(stop: asyncio.Event) -> None:
        await admin.start()
        try:
            await streaming.run(stop)
        finally:
            await admin.stop()
            await asyncio.to_thread(stop_tracing)

    process.run(main)
