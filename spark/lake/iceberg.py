"""A table as Iceberg itself has it: what SQL could only say by a job over its metadata."""

from typing import Any

from pyspark.sql import SparkSession


def loaded(spark: SparkSession, table: str) -> Any:
    """Iceberg's `Table`, as the catalog has it now. *Raises* AnalysisException where there is none."""
    gateway: Any = spark.sparkContext._gateway
    session: Any = spark._jsparkSession
    return gateway.jvm.org.apache.iceberg.spark.Spark3Util.loadIcebergTable(session, table)
