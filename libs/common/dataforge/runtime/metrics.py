"""Every Prometheus metric of the platform, with a line of meaning. Services pick from here.

Names are a public interface (dashboards and alerts read them): rename one only with a change note.
`topic` is always the topic a service reads, `partition` its partition.
"""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_PARTITION = ("topic", "partition")

# --- every worker (dataforge.stream.app) ---
BATCHES = Counter("dataforge_batches", "Batches taken and worked on.", _PARTITION)
RECORDS = Counter("dataforge_records", "Records in those batches.", _PARTITION)
TAKE_SECONDS = Histogram("dataforge_take_seconds", "Time to work on one batch.", ("topic",), buckets=_SECONDS)
OPEN_SECONDS = Histogram("dataforge_open_seconds", "Time to claim and load a partition.", ("topic",), buckets=_SECONDS)
POSITION = Gauge("dataforge_position", "Next offset whose work is not yet safe.", _PARTITION)
LAG = Gauge("dataforge_lag_records", "Offsets between the position and the end of the log.", _PARTITION)
ASSIGNED = Gauge("dataforge_partitions", "Partitions assigned to this process.", ("source",))
TRANSIENTS = Counter("dataforge_transient_errors", "Batches put back because something was away.", ("topic",))
STALE_BATCHES = Counter("dataforge_stale_batches", "Batches below the position: dropped.", ("topic",))
GAPS = Counter("dataforge_gaps", "Batches above the position: the log was sought again.", ("topic",))
CHAIN_RECORDS = Counter(
    "dataforge_chain_records", "Records read from the landing chain, because the log no longer holds them.", ("topic",)
)
REBALANCES = Counter("dataforge_rebalances", "Completed group rebalances seen.")

# --- producers (dataforge.stream.producer) ---
PRODUCED = Counter("dataforge_produced_records", "Records acknowledged by Kafka.", ("topic",))
PRODUCE_SECONDS = Histogram(
    "dataforge_produce_seconds", "Time from send to the last acknowledgement of one send.", ("topic",), buckets=_SECONDS
)

# --- quality-worker ---
VERDICTS = Counter("dataforge_verdicts", "Raw records judged, by verdict and reason.", ("topic", "verdict", "reason"))
PAUSED = Gauge("dataforge_paused", "1 while too many rejections hold the topic until it is resumed.", ("topic",))
QUARANTINED = Counter("dataforge_quarantined_copies", "Records copied to the quarantine topic.", ("topic",))
ACCEPTANCE_GAPS = Counter(
    "dataforge_acceptance_gaps", "Judged records claiming raw offsets this reader never saw.", ("topic",)
)

# --- landing-worker ---
LANDED_ROWS = Counter("dataforge_landed_rows", "Rows in landing objects written by this process.", ("topic",))
LANDED_BYTES = Counter("dataforge_landed_bytes", "Size of those objects.", ("topic",))
LANDED_OBJECTS = Counter("dataforge_landed_objects", "Landing objects written by this process.", ("topic",))
LANDING_CONFLICTS = Counter("dataforge_landing_conflicts", "PUTs another worker had won (412).", ("topic",))
PUT_SECONDS = Histogram("dataforge_put_seconds", "Time of one PUT to the object store.", ("topic",), buckets=_SECONDS)

# --- aggregator ---
OUTCOMES = Counter("dataforge_outcomes", "Valid records, by outcome.", ("topic", "outcome"))
COMMIT_SECONDS = Histogram("dataforge_commit_seconds", "Time of one state commit.", ("topic",), buckets=_SECONDS)
COMMIT_ROWS = Counter("dataforge_commit_rows", "Window rows written by state commits.", ("topic",))
SUPERSEDED = Counter("dataforge_superseded", "Commits refused because another worker holds the claim.", ("topic",))
WINDOWS = Gauge("dataforge_windows", "Windows held in memory.", _PARTITION)
WATERMARK_MS = Gauge("dataforge_watermark_ms", "Watermark of the partition, ms since the epoch.", _PARTITION)
LABEL_OVERFLOW = Counter(
    "dataforge_label_overflow",
    "Times a label beyond the cap went to __other__ (at most once per label, window and batch).",
    ("table",),
)
CORRECTIONS = Counter("dataforge_corrections", "Corrections from the lake, by what became of them.", ("outcome",))

# --- the lake's stream ---
LAKE_COMMITS = Counter("dataforge_lake_commits", "Commits to tables of the lake.", ("event", "layer"))
LAKE_SECONDS = Histogram(
    "dataforge_lake_seconds",
    "Time of the work that ends with one.",
    ("event", "layer"),
    buckets=(0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)

# --- ws-gateway ---
WS_CLIENTS = Gauge("dataforge_ws_clients", "WebSocket connections open.")
WS_SUBSCRIPTIONS = Gauge("dataforge_ws_subscriptions", "Subscriptions open.")
WS_CHANNELS = Gauge("dataforge_ws_channels", "Distinct channels those subscriptions share.")
WS_FRAMES = Counter("dataforge_ws_frames", "Frames handed to clients.", ("kind",))
WS_CONFLATED = Counter("dataforge_ws_conflated", "Deltas merged because a client was slow.")
WS_CLOSED = Counter("dataforge_ws_closed", "Connections closed by the server, by code.", ("code",))
WS_RESYNCS = Counter("dataforge_ws_resyncs", "Snapshots taken again because the feed did not connect.", ("topic",))
WS_RESUMES = Counter(
    "dataforge_ws_resumes", "Clients that came back with a token, by how they were answered.", ("how",)
)

# --- query-api ---
HTTP_REQUESTS = Counter("dataforge_http_requests", "Requests answered.", ("method", "route", "status"))
QUERIES = Counter("dataforge_queries", "Queries, by how they ended: made, kept, or the problem's code.", ("how",))
HTTP_SECONDS = Histogram("dataforge_http_seconds", "Time to answer a request.", ("method", "route"), buckets=_SECONDS)
