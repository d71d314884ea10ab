"""What was found where the lake's events were held against quality.yaml: one report a look. Pure.

*Source*: docs/specs/quality.md.
"""

from typing import Literal, get_args

import msgspec

Source = Literal["gate", "suite"]
"""gate: the events that one write brings; suite: those of the last days, taken together."""
SOURCES: tuple[Source, ...] = get_args(Source)
Status = Literal["passed", "failed", "unknown"]
"""unknown: there is too little to tell by."""
RULE = "rule"
"""The kind of a finding that is about a rule of quality.yaml; the others are `ExpectationKind`s."""

_LAST_MS = 10**15 - 1


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """About one rule or expectation."""

    name: str
    kind: str
    severity: Literal["fail", "warn"]
    status: Status
    observed: float | None = None
    """None where nothing could be."""
    least: float | None = None
    most: float | None = None
    rows: int = 0
    """Events it was asked of."""
    failed: int | None = None
    """Those of them that do not meet it, where each does or does not by itself."""
    why: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    event: str
    """As in topics: `retail.purchase.v1`."""
    source: Source
    at_ms: int
    """gate: when the write was committed; suite: when it began to look."""
    snapshot: int
    """Of the table that was written (gate: the quarantine's) or looked at (suite: silver)."""
    rows: int
    findings: list[Finding]
    still_broken: list[Finding] = []
    """What an earlier look found broken, and since then none could tell."""

    @property
    def run(self) -> str:
        """Names this look among all of its event and source. A later one sorts before an earlier."""
        return f"{_LAST_MS - self.at_ms:015d}-{self.snapshot}"

    @property
    def key(self) -> str:
        """Of the object that it is stored in, which never changes."""
        return f"{prefix(self.event, self.source)}{self.run}"

    @property
    def broken(self) -> list[Finding]:
        """What somebody has to be told of."""
        return [one for one in self.findings if (one.status, one.severity) == ("failed", "fail")]

    def after(self, before: "Report | None") -> "Report":
        """The same, with what was broken `before` and cannot be told of now: silence mends nothing."""
        unknown = {one.name for one in self.findings if (one.status, one.severity) == ("unknown", "fail")}
        known = [*before.broken, *before.still_broken] if before else []
        return msgspec.structs.replace(self, still_broken=[one for one in known if one.name in unknown])


def prefix(event: str, source: Source) -> str:
    return f"quality/{event}/{source}/"


def status_of(observed: float | None, least: float | None, most: float | None) -> Status:
    if observed is None:
        return "unknown"
    return "passed" if (least is None or observed >= least) and (most is None or observed <= most) else "failed"


_decoder = msgspec.json.Decoder(Report)


def encode(report: Report) -> bytes:
    return msgspec.json.encode(report)


def decode(data: bytes) -> Report:
    """Fields of a later version are ignored. *Raises* `msgspec.DecodeError` where it is no report."""
    return _decoder.decode(data)
