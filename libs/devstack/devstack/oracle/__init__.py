"""A second opinion on every number, by DuckDB over the source data. Imports nothing from `dataforge` or a service."""
