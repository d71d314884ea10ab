"""Reports as Great Expectations suites: it judges the numbers, and makes pages of what was judged.

The data it validates is one row, a column for each expectation with the number that was observed: exact, of all
events, from one pass of Spark's. Its own engine would ask Spark once for each expectation.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from dataforge.quality.report import Finding, Report

_SITE = "quality"


def judged(report: Report) -> Report:
    """With every finding's status; one that has no number stays unknown."""
    met = _validated(_context(), report)
    return msgspec.structs.replace(report, findings=[_judged(one, met) for one in report.findings])


def documented(reports: Sequence[Report], folder: Path) -> Path:
    """Write pages about these reports, to be opened by a browser. Returns the first page."""
    context = _context()
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder.absolute())}
    index = {"class_name": "DefaultSiteIndexBuilder", "show_cta_footer": False}
    site = {"class_name": "SiteBuilder", "site_index_builder": index, "store_backend": store}
    context.add_data_docs_site(site_name=_SITE, site_config=site)
    for report in reports:
        _validated(context, report)
    context.build_data_docs(site_names=[_SITE])
    return folder / "index.html"


def _context() -> Any:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # it would tell its makers that it was used
    import great_expectations as gx  # it takes seconds, and only these two need it
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    return context


def _validated(context: Any, report: Report) -> dict[str, bool]:
    """Name -> whether the number is within its limits, for each finding that has one."""
    import great_expectations as gx
    from great_expectations.core.run_identifier import RunIdentifier

    known = [one for one in report.findings if one.observed is not None]
    if not known:
        return {}
    name = f"{report.event}.{report.source}"
    sources = context.data_sources
    source = sources.get("lake") if "lake" in sources.all() else sources.add_pandas("lake")
    asset = source.add_dataframe_asset(name=f"{name}.{report.run}")
    suite = gx.ExpectationSuite(name=f"{name}.{report.run}", expectations=[_expectation(one) for one in known])
    definition = gx.ValidationDefinition(
        name=f"{name}.{report.run}", data=asset.add_batch_definition_whole_dataframe("all"), suite=suite
    )
    context.suites.add(suite)
    context.validation_definitions.add(definition)
    at = datetime.fromtimestamp(report.at_ms / 1_000, UTC)
    found = definition.run(
        batch_parameters={"dataframe": pd.DataFrame({one.name: [one.observed] for one in known})},
        run_id=RunIdentifier(run_name=f"snapshot {report.snapshot}", run_time=at),
    )
    return {result.expectation_config.kwargs["column"]: bool(result.success) for result in found.results}


def _expectation(one: Finding) -> Any:
    import great_expectations.expectations as gxe

    # Of a column with one number, the largest is that number; and it is shown, as a single value would not be.
    return gxe.ExpectColumnMaxToBeBetween(
        column=one.name,
        min_value=one.least,
        max_value=one.most,
        notes=one.why,
        severity="critical" if one.severity == "fail" else "warning",
        meta={"kind": one.kind, "rows": one.rows, "failed": one.failed},
    )


def _judged(one: Finding, met: dict[str, bool]) -> Finding:
    if one.name not in met:
        return one
    return msgspec.structs.replace(one, status="passed" if met[one.name] else "failed")
