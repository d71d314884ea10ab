"""What a client may ask for, and how its question becomes a selection. Pure; REST and WebSocket share it."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dataforge.contracts.model import Domain, EventType, Metric, Rolling
from dataforge.errors import DataForgeError
from dataforge.kpi.plan import Plan, View, plan

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"^(\d{1,12})(ms|s|m|h|d)$")
_ROLLING = "rolling:"


class Unanswerable(DataForgeError):
    """A question nobody can answer; `code` is part of both protocols, `hint` says what can be asked instead."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(f"{message}; {hint}")
        self.code = code
        self.message = message
        self.hint = hint


def duration_text(duration_ms: int) -> str:
    """Milliseconds as the shortest exact text: 60000 -> "1m", 90000 -> "90s"."""
    unit = next(u for u in ("d", "h", "m", "s", "ms") if duration_ms % _UNITS_MS[u] == 0)
    return f"{duration_ms // _UNITS_MS[unit]}{unit}"


def _duration_ms(text: str) -> int | None:
    found = _DURATION.match(text)
    return int(found[1]) * _UNITS_MS[found[2]] if found else None


def windows_text(metric: Metric) -> list[str]:
    """Every `window` that may be asked of a metric."""
    return [*map(duration_text, metric.windows_ms), *(f"{_ROLLING}{duration_text(r.size_ms)}" for r in metric.rolling)]


@dataclass(frozen=True, slots=True)
class Selection:
    """One metric, by one dimension set, in one kind of window, of some labels."""

    domain: Domain
    event: EventType
    view: View
    size_ms: int
    rolling: Rolling | None
    where: tuple[tuple[str, frozenset[str]], ...] = ()
    """(dimension, values wanted); all must hold."""

    @property
    def name(self) -> str:
        """`<domain>.<event>.v<N>`, as the state calls it."""
        return self.event.contract.name

    @property
    def step_ms(self) -> int:
        """Grain of the rows this selection is read from, and distance between the ends of its windows."""
        return self.rolling.every_ms if self.rolling else self.size_ms

    @property
    def window(self) -> str:
        return f"{_ROLLING if self.rolling else ''}{duration_text(self.size_ms)}"

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for selections that show the same."""
        return (self.name, self.view.metric.name, self.view.by, self.size_ms, self.rolling, self.where)

    @property
    def wanted(self) -> Callable[[tuple[str, ...]], bool] | None:
        """Filter over labels; None where all are wanted."""
        if not self.where:
            return None
        at = tuple((self.view.by.index(dimension), values) for dimension, values in self.where)
        return lambda labels: all(labels[i] in values for i, values in at)


class Catalogue:
    """All domains, planned once."""

    def __init__(self, domains: Iterable[Domain]) -> None:
        self.domains = tuple(domains)
        self._plans: dict[str, Plan] = {e.contract.name: plan(e) for d in self.domains for e in d.events}

    def plan(self, event: EventType) -> Plan:
        return self._plans[event.contract.name]

    def partitions(self) -> list[tuple[str, int]]:
        """Every (event name, partition) there is."""
        return [(e.contract.name, p) for d in self.domains for e in d.events for p in range(d.partitions)]

    def domain(self, name: str | None) -> Domain:
        """*Raises* `Unanswerable`: unknown_domain; ambiguous where there are several and none is named."""
        known = ", ".join(d.name for d in self.domains) or "none"
        if name is None:
            if len(self.domains) == 1:
                return self.domains[0]
            raise Unanswerable("ambiguous", "name a domain", f"there are: {known}")
        for domain in self.domains:
            if domain.name == name:
                return domain
        raise Unanswerable("unknown_domain", f"there is no domain {name!r}", f"there are: {known}")

    def select(
        self,
        *,
        metric: str,
        domain: str | None = None,
        event: str | None = None,
        window: str | None = None,
        by: Sequence[str] = (),
        where: Mapping[str, Iterable[str]] | None = None,
    ) -> Selection:
        """Read a question. Without `window`, the metric's smallest. *Raises* `Unanswerable`."""
        in_domain = self.domain(domain)
        of_event = self._event(in_domain, event, metric)
        kept = of_event.metrics[metric]
        view = self._view(of_event, kept, by)
        size_ms, rolling = self._window(kept, window)
        return Selection(in_domain, of_event, view, size_ms, rolling, _conditions(view, where or {}))

    def _event(self, domain: Domain, event: str | None, metric: str) -> EventType:
        try:
            events = (domain.event(event),) if event else domain.events
        except KeyError:
            known = ", ".join(f"{e.contract.event}.v{e.contract.version}" for e in domain.events)
            raise Unanswerable(
                "unknown_event", f"domain {domain.name} has no event {event!r}", f"there are: {known}"
            ) from None
        having = [e for e in events if metric in e.metrics]
        if not having:
            known = ", ".join(sorted({name for e in events for name in e.metrics}))
            raise Unanswerable(
                "unknown_metric", f"domain {domain.name} has no metric {metric!r}", f"there are: {known or 'none'}"
            )
        if len(having) > 1:
            known = ", ".join(f"{e.contract.event}.v{e.contract.version}" for e in having)
            raise Unanswerable("ambiguous", f"several events have a metric {metric!r}", f"name the event: {known}")
        return having[0]

    def _view(self, event: EventType, metric: Metric, by: Sequence[str]) -> View:
        for kept in metric.by:
            if len(kept) == len(by) and set(kept) == set(by):
                return self.plan(event).view(metric.name, kept)
        sets = "; ".join(",".join(kept) or "(the total: leave by away)" for kept in metric.by)
        asked = f"by {','.join(by)}" if by else "as a total"
        raise Unanswerable("unknown_dimension", f"{metric.name} is not kept {asked}", f"it is kept by: {sets}")

    @staticmethod
    def _window(metric: Metric, window: str | None) -> tuple[int, Rolling | None]:
        if window is None:
            return min(metric.windows_ms), None
        size_ms = _duration_ms(window.removeprefix(_ROLLING))
        if window.startswith(_ROLLING):
            for rolling in metric.rolling:
                if rolling.size_ms == size_ms:
                    return rolling.size_ms, rolling
        elif size_ms in metric.windows_ms:
            return size_ms, None
        raise Unanswerable(
            "bad_window", f"{metric.name} has no window {window!r}", f"it has: {', '.join(windows_text(metric))}"
        )


def _conditions(view: View, where: Mapping[str, Iterable[str]]) -> tuple[tuple[str, frozenset[str]], ...]:
    for dimension in where:
        if dimension not in view.by:
            raise Unanswerable(
                "bad_where",
                f"where names {dimension!r}, which is not in by",
                f"name it in by, or filter on: {', '.join(view.by) or 'nothing, it is a total'}",
            )
    return tuple(sorted((d, frozenset([v] if isinstance(v, str) else v)) for d, v in where.items()))
