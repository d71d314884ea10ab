"""What the API answers, as its OpenAPI describes it. Rows are encoded past pydantic; tests hold the two equal."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dataforge.kpi.status import Status


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ProblemDetail(Model):
    code: str = Field(description="Stable, for programs")
    message: str = Field(description="What was wrong, for people")
    hint: str = Field(description="What to do instead")


class Problem(Model):
    error: ProblemDetail


class StatedError(Model):
    """How far a sketched value may be off. Exact values state none."""

    kind: Literal["relative", "rank", "count"]
    bound: float | str


class RollingInfo(Model):
    window: str = Field(examples=["rolling:5m"])
    every: str = Field(examples=["10s"])


class MetricInfo(Model):
    name: str
    measure: str = Field(examples=["sum", "ratio", "distinct", "quantiles", "top_k"])
    unit: str
    description: str
    windows: list[str] = Field(examples=[["10s", "1m", "1h"]])
    rolling: list[RollingInfo]
    by: list[list[str]] = Field(description="Dimension sets; [] is the total", examples=[[[], ["store"]]])
    error: StatedError | None


class EventInfo(Model):
    name: str
    version: int
    id: str = Field(examples=["retail.purchase.v1"])
    lateness: str = Field(description="How late an event may come and still be counted", examples=["1m"])
    ttl: str = Field(description="How long a window is kept after its end", examples=["2d"])
    metrics: list[MetricInfo]


class DomainInfo(Model):
    name: str
    description: str
    partitions: int
    events: list[EventInfo]


class LiveInfo(Model):
    url: str
    protocol: str = "dataforge.v1"


class CatalogueAnswer(Model):
    """What can be asked."""

    domains: list[DomainInfo]
    live: LiveInfo


class TopItem(Model):
    item: str
    estimate: int
    lower: int
    upper: int


class KpiRowAnswer(Model):
    start: str = Field(description="ISO 8601, UTC, milliseconds; inclusive", examples=["2026-01-05T10:00:00.000Z"])
    end: str = Field(description="Exclusive", examples=["2026-01-05T10:01:00.000Z"])
    labels: dict[str, str] = Field(examples=[{"store": "367"}])
    value: int | float | dict[str, float | None] | list[TopItem] | None = Field(
        description='A number; null where it is undefined; {"p50": …} for quantiles; items for top_k'
    )
    status: Status = Field(
        description="`provisional`: events may still come. `settled`: closed in every partition that is not idle; "
        "one that wakes may still change it. `final`: sealed in every partition by its own log. Only ever forward"
    )
    revision: int = Field(
        description="How many events changed the row after its window had ended, by the time of their partition; a "
        "correction from the lake adds one"
    )
    corrected: bool = Field(
        description="The lake has replaced the row, or a pane of it: late events and far repeats are made good in it"
    )


class PartitionPlace(Model):
    next: int = Field(description="Raw offset: every record below it is in the rows")
    position: int = Field(description="Offset in the judged log")
    watermark: str | None = Field(description="Event time this partition has reached; null before its first event")
    floor: str | None = Field(
        description="Watermark of the others when this partition was last idle; null: it never was"
    )
    idle: bool = Field(description="Windows settle without waiting for this partition: its floor is ahead of it")


class RowsAnswer(Model):
    domain: str
    event: str
    metric: str
    measure: str
    unit: str
    window: str
    by: list[str]
    error: StatedError | None
    watermark: str | None = Field(description="Event time that every partition with events has reached")
    partitions: dict[str, PartitionPlace]
    rows: list[KpiRowAnswer] = Field(description="By start, then labels")
    next_cursor: str | None = Field(description="Pass it as `cursor` for the rows that follow; null at the end")


class Outcomes(Model):
    """*received = landed = valid + quarantined + undecodable*, *valid = counted + duplicate + late*."""

    received: int = Field(description="Records that some stage has seen")
    landed: int | None = Field(description="Rows in landing objects; null where that is not known for every minute")
    judged: int = Field(description="valid + quarantined + undecodable")
    valid: int
    quarantined: dict[str, int] = Field(description="By reason", examples=[{"missing_field": 3}])
    undecodable: dict[str, int] = Field(description="By reason", examples=[{"not_json": 1}])
    counted: int
    duplicate: int
    late: int
    balanced: bool = Field(description="Both identities hold; of minutes that are not closed, only the second is asked")


class MinuteOutcomes(Outcomes):
    minute: str = Field(description="Minute of log time the records were appended in")
    closed: bool = Field(description="Every stage has passed it: it must balance. Else its records are on their way")


class LedgerProblem(Model):
    partition: int
    kind: Literal["minute", "landing", "judging", "counting"] = Field(
        description="A minute that does not balance, or the stage that stands still while there is something to do"
    )
    problem: str
    age_s: float = Field(description="Seen for so long without a break")


class PartitionLedgerAnswer(Model):
    partition: int
    next: int = Field(description="Raw offset: every record below it has its outcome in the counts")
    position: int = Field(description="Judged offset up to which was counted")
    landed_next: int | None = Field(description="Raw offset where the landing chain goes on; null: store away")
    raw_end: int | None = Field(description="Raw offset the next record gets; null: Kafka away")
    judged_end: int | None
    in_flight: int | None = Field(description="Raw offsets that are not both landed and counted yet; null: Kafka away")
    compared_from: str | None = Field(
        description="Landed is compared from this minute on: what is older has expired, or is not read yet; null: all"
    )
    totals: Outcomes
    minutes: list[MinuteOutcomes]


class EventLedger(Model):
    event: str
    totals: Outcomes
    problems: list[LedgerProblem] = Field(description="What has not balanced for longer than the set time")
    partitions: list[PartitionLedgerAnswer]


class LedgerAnswer(Model):
    domain: str
    balanced: bool = Field(description="Every minute balances, and no stage stands still")
    away: list[str] = Field(description="What could not be asked: its part of the comparison is left out")
    totals: Outcomes = Field(description="Sums over the minutes kept; minutes expire with the windows' ttl")
    events: list[EventLedger]


class LandingStage(Model):
    state: Literal["landed", "pending", "unknown"] = Field(
        description="pending: received, not landed yet; unknown: the object store is away"
    )
    object: str | None = Field(description="Key of the object that holds it")


class JudgingStage(Model):
    state: Literal["judged", "pending", "missing"] = Field(
        description="pending: not judged yet; missing: the judged log goes on without it, which must never be"
    )
    position: int | None = Field(description="Offset of its record in the judged topic")
    verdict: Literal["valid", "quarantined", "undecodable"] | None
    reason: str | None = Field(default=None, description="Why it is not valid")
    warnings: list[str] = Field(description="Quality rules that only warn")


class ReceiptWindow(Model):
    metrics: list[str]
    by: list[str]
    window: str = Field(examples=["1m"])
    start: str
    labels: dict[str, str] = Field(description="`__other__` where the table had reached its cap of labels")


class CountingStage(Model):
    state: Literal["counted", "duplicate", "late", "none", "pending", "unknown"] = Field(
        description="none: it is not valid; pending: not counted yet; unknown: older than the ledger's minutes are kept"
    )
    event_id: str | None
    event_time: str | None
    watermark: str | None = Field(description="Of its partition, before it")
    duplicate_of: int | None = Field(default=None, description="Raw offset of the first record with its id")
    late_by_ms: int | None = Field(default=None, description="How far event time + lateness lay below the watermark")
    windows: list[ReceiptWindow] = Field(description="Where it is counted")
    visible_since: str | None = Field(description="Time of day of the commit that made it visible")
    visible_before: str | None = Field(default=None, description="Where the feed no longer says when: visible by then")


class ReceiptAnswer(Model):
    topic: str
    partition: int
    offset: int
    appended: str | None = Field(description="Append time in the raw log")
    landing: LandingStage
    judging: JudgingStage
    counting: CountingStage


class SearchedPartition(Model):
    topic: str
    partition: int
    records: int = Field(description="Judged records that were looked at")
    since: str | None = Field(description="Append time of the first of them")
    until: str | None


class SearchAnswer(Model):
    event_id: str
    since: str
    searched: list[SearchedPartition] = Field(description="What the answer is about: other records were not looked at")
    receipts: list[ReceiptAnswer] = Field(description="At most 100 an event type")


class PipelinePartition(PartitionPlace):
    partition: int
    started: bool = Field(description="A worker has committed to this partition's state")


class Pipeline(Model):
    domain: str
    event: str
    watermark: str | None
    lag_s: float | None = Field(description="Wall clock minus watermark; null before the first event")
    problems: list[LedgerProblem] = Field(
        description="What of its ledger has not balanced for longer than the set time"
    )
    partitions: list[PipelinePartition]


class PipelinesAnswer(Model):
    pipelines: list[Pipeline]


class QueryParameter(Model):
    name: str
    type: Literal["date", "timestamp", "integer", "number", "text", "enum"]
    many: bool = Field(description="A list of these")
    required: bool
    default: Any = Field(description="Where it is left out; null: no value")
    form: str = Field(
        description="What it must be, in words", examples=["a whole number of at most 64 bits at least 1"]
    )
    allowed: list[str] = Field(description="Of an enum")
    description: str


class QueryInfo(Model):
    domain: str
    name: str
    description: str
    max_rows: int
    parameters: list[QueryParameter]


class QueriesAnswer(Model):
    queries: list[QueryInfo]


class QueryRequest(Model):
    """Either `query`, with its `parameters`, or `sql`."""

    domain: str | None = Field(default=None, description="May be left out where there is only one")
    query: str | None = Field(
        default=None, description="Name of one of the domain's queries", examples=["top_products"]
    )
    parameters: dict[str, Any] = Field(
        default={}, description="Values by name", examples=[{"since": "2026-01-05", "until": "2026-01-06"}]
    )
    sql: str | None = Field(
        default=None,
        description="One SELECT in Athena's dialect over bronze.<event>, silver.<event>, gold.<event>; for analysts",
        examples=["SELECT count(*) FROM silver.purchase"],
    )
    limit: int | None = Field(default=None, ge=1, description="Most rows; never more than the query or the API allows")


class QueryColumn(Model):
    name: str
    type: str = Field(description="As Athena writes it", examples=["decimal(38,2)"])


class QuerySnapshot(Model):
    snapshot: str = Field(description="Of the Iceberg table")
    at: str


class QueryAnswer(Model):
    domain: str
    query: str = Field(description="Its name; `ad hoc` for SQL of one's own")
    elapsed_ms: float
    cached: bool = Field(description="The answer was kept from before")
    columns: list[QueryColumn]
    rows: list[list[Any]]
    truncated: bool = Field(description="There are more rows than are answered")
    snapshots: dict[str, QuerySnapshot] = Field(description="What of each table the answer is about")


class QualityFinding(Model):
    name: str = Field(description="Of the rule or expectation in quality.yaml")
    kind: str = Field(examples=["rule", "completeness", "drift"])
    severity: Literal["fail", "warn"]
    status: Literal["passed", "failed", "unknown"] = Field(description="unknown: there was too little to tell by")
    observed: float | None = Field(
        description="The number that is held against the limits; a share, where rows are told"
    )
    at_least: float | None
    at_most: float | None
    rows: int = Field(description="Events it was asked of")
    failed: int | None = Field(description="Those that do not meet it, where each does or does not by itself")
    why: str


class QualityReport(Model):
    at: str
    snapshot: str = Field(description="Of the Iceberg table; text, for it has more digits than a JavaScript number")
    rows: int = Field(description="Events that were looked at")
    failed: int = Field(description="Findings that failed, whatever their severity")
    findings: list[QualityFinding]


class EventQuality(Model):
    event: str
    gate: QualityReport | None = Field(description="Of the newest write to silver: its rows; null: there is none yet")
    suite: QualityReport | None = Field(description="Of the newest look at the last days; null: there was none yet")


class QualityAnswer(Model):
    domain: str
    passed: bool = Field(description="Nothing of severity `fail` failed. True also where nothing was looked at yet")
    events: list[EventQuality]
