"""Reports as Great Expectations suites: it judges the numbers, and makes pages of what was judged.

The data it validates is one row, a column for each expectation with the number that was observed: exact, of all
events, from one pass of Spark's. Its own engine would ask Spark once for each expectation.
"""

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from dataforge.quality.report import Finding, Report

_SITE = "quality"


def judged(report: Report) -> Report:
    """With every finding's status; one that has no number stays unknown."""
    met = _Validator().validate(report)
    return msgspec.structs.replace(report, findings=[_judged(one, met) for one in report.findings])


def documented(reports: Iterable[Report], folder: Path) -> Path:
    """Write pages about these reports, to be opened by a browser. Returns the first page."""
    validator = _Validator()
    for report in sorted(reports, key=lambda one: one.at_ms):  # a suite is shown as the newest report has it
        validator.validate(report)
    validator.write(folder)
    return folder / "index.html"


class _Validator:
    """Great Expectations, with one suite for each event and source."""

    def __init__(self) -> None:
        os.environ["GX_ANALYTICS_ENABLED"] = "false"  # nobody but us need know that it is used
        import great_expectations as gx  # it takes seconds, and nothing else here needs it
        from great_expectations.data_context.types.base import ProgressBarsConfig

        self._gx: Any = gx
        self._context: Any = gx.get_context(mode="ephemeral")
        self._context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
        numbers = self._context.data_sources.add_pandas("lake").add_dataframe_asset(name="observed")
        self._numbers: Any = numbers.add_batch_definition_whole_dataframe("all")

    def validate(self, report: Report) -> dict[str, bool]:
        """Name -> whether the number is within its limits, for each finding that has one."""
        from great_expectations.core.run_identifier import RunIdentifier

        known = [one for one in report.findings if one.observed is not None]
        if not known:
            return {}
        name = f"{report.event}.{report.source}"
        expectations = [_expectation(one) for one in known]
        suite = self._context.suites.add_or_update(self._gx.ExpectationSuite(name=name, expectations=expectations))
        definition = self._context.validation_definitions.add_or_update(
            self._gx.ValidationDefinition(name=name, data=self._numbers, suite=suite)
        )
        at = datetime.fromtimestamp(report.at_ms / 1_000, UTC)
        found = definition.run(
            batch_parameters={"dataframe": pd.DataFrame({one.name: [one.observed] for one in known})},
            run_id=RunIdentifier(run_name=f"snapshot {report.snapshot}", run_time=at),
        )
        return {result.expectation_config.kwargs["column"]: bool(result.success) for result in found.results}

    def write(self, folder: Path) -> None:
        store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder.absolute())}
        index = {"class_name": "DefaultSiteIndexBuilder", "show_cta_footer": False}
        site = {"class_name": "SiteBuilder", "site_index_builder": index, "store_backend": store}
        self._context.add_data_docs_site(site_name=_SITE, site_config=site)
        self._context.build_data_docs(site_names=[_SITE])


def _expectation(one: Finding) -> Any:
    from great_expectations.expectations.core.expect_column_max_to_be_between import ExpectColumnMaxToBeBetween
    from great_expectations.expectations.metadata_types import FailureSeverity

    # Of a column with one number, the largest is that number; and it is shown, as a single value would not be.
    return ExpectColumnMaxToBeBetween(
        column=one.name,
        min_value=one.least,
        max_value=one.most,
        notes=one.why,
        severity=FailureSeverity.CRITICAL if one.severity == "fail" else FailureSeverity.WARNING,
        meta={"kind": one.kind, "rows": one.rows, "failed": one.failed},
    )


def _judged(one: Finding, met: dict[str, bool]) -> Finding:
    if one.name not in met:
        return one
    return msgspec.structs.replace(one, status="passed" if met[one.name] else "failed")
