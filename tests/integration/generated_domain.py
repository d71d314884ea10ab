"""A domain nobody has seen: field names, types and metrics drawn from a seed, its events, and what they add up to.

Shares nothing with the platform but the grammar of docs/specs/domain.md.
"""

import json
import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heron",
    "inlet",
    "jetty",
    "knoll",
    "larch",
    "maple",
    "nacre",
    "onyx",
    "pearl",
    "quartz",
    "ridge",
    "slate",
    "tidal",
    "umber",
    "vale",
    "willow",
    "yarrow",
    "zephyr",
]
WINDOWS = {"10s": 10_000, "1m": 60_000}


@dataclass
class GeneratedDomain:
    """Names of everything, as drawn."""

    seed: int
    name: str = ""
    event: str = ""
    id_field: str = ""
    time_field: str = ""
    key_field: str = ""
    label_field: str = ""
    money_field: str = ""
    count_field: str = ""
    flag_field: str = ""
    lateness_s: int = 20
    epoch_ms: bool = False
    scale: int = 2
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def draw(cls, seed: int) -> "GeneratedDomain":
        r = random.Random(seed)
        w = r.sample(WORDS, 15)
        domain = cls(seed, w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8])
        domain.epoch_ms, domain.scale = r.random() < 0.5, r.randint(1, 4)
        kinds = {
            w[9]: {"measure": {"sum": domain.money_field}},
            w[10]: {"measure": "count", "where": {domain.flag_field: True}},
            w[11]: {"measure": {"max": domain.count_field}},
            w[12]: {"measure": {"avg": domain.money_field}},
            w[13]: {"measure": {"ratio": {"of": [domain.count_field], "to": [domain.money_field]}}},
        }
        domain.metrics = {
            name: metric | {"event": domain.event, "by": [[], [domain.label_field]], "windows": list(WINDOWS)}
            for name, metric in kinds.items()
        }
        return domain

    @property
    def raw_topic(self) -> str:
        return f"raw.{self.name}.{self.event}.v1"

    def write(self, folder: Path) -> Path:
        """The domain's folder: a contract and metrics, nothing else."""
        home = folder / self.name
        home.mkdir(parents=True)
        when = {"type": "integer", "x-time": "epoch_ms"} if self.epoch_ms else {"type": "string", "format": "date-time"}
        contract = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": self.event,
            "type": "object",
            "x-dataforge": {"id": self.id_field, "event_time": self.time_field, "key": self.key_field},
            "properties": {
                self.id_field: {"type": "string", "minLength": 1},
                self.time_field: when,
                self.key_field: {"type": "string"},
                self.label_field: {"type": ["string", "null"], "maxLength": 40},
                self.money_field: {"type": "number", "x-scale": self.scale},
                self.count_field: {"type": "integer", "minimum": 0, "maximum": 1_000_000},
                self.flag_field: {"type": "boolean"},
            },
            "required": [
                self.id_field,
                self.time_field,
                self.key_field,
                self.money_field,
                self.count_field,
                self.flag_field,
            ],
        }
        (home / f"{self.event}.v1.json").write_text(json.dumps(contract, indent=2))
        # JSON is YAML: written by json, so that no YAML writer of ours is trusted.
        metrics = {
            "lateness": f"{self.lateness_s}s",
            "ttl": "2d",
            "dimensions": {self.label_field: {"field": self.label_field}},
            "metrics": self.metrics,
        }
        (home / "metrics.yaml").write_text(json.dumps(metrics, indent=2))
        return home

    def events(self, count: int, now_ms: int) -> list[dict[str, Any]]:
        """Events in time order, the last at `now_ms`; money has exactly `scale` decimals."""
        r = random.Random(self.seed + 1)
        found = []
        for n in range(count):
            at = now_ms - (count - 1 - n) * 100
            event: dict[str, Any] = {
                self.id_field: f"{self.seed}-{n}",
                self.time_field: at if self.epoch_ms else _iso(at),
                self.key_field: f"k{r.randint(0, 40)}",
                self.money_field: r.randint(-(10**5), 10**6) / 10**self.scale,
                self.count_field: r.randint(0, 1000),
                self.flag_field: r.random() < 0.4,
            }
            if r.random() < 0.9:
                event[self.label_field] = (
                    r.choice(["north", "süd", "東", 'a"b', "west|x"]) if r.random() < 0.9 else None
                )
            found.append(event | {"_at": at})
        return found

    def expected(self, events: Iterable[dict[str, Any]]) -> dict[tuple[str, str, int, str | None], Any]:
        """(metric, window, start in ms, label or None for the total) -> value."""
        groups: defaultdict[tuple[str, int, str | None], list[dict[str, Any]]] = defaultdict(list)
        for event in events:
            label = event.get(self.label_field)
            for window, size in WINDOWS.items():
                start = event["_at"] // size * size
                groups[window, start, None].append(event)
                groups[window, start, "__unknown__" if label is None else label].append(event)
        values: dict[tuple[str, str, int, str | None], Any] = {}
        names = list(self.metrics)
        for (window, start, label), found in groups.items():
            money = sum(Decimal(str(e[self.money_field])) for e in found)
            flagged = sum(e[self.flag_field] for e in found)
            units = sum(e[self.count_field] for e in found)
            values[names[0], window, start, label] = float(money)
            if flagged:
                values[names[1], window, start, label] = flagged
            values[names[2], window, start, label] = max(e[self.count_field] for e in found)
            values[names[3], window, start, label] = float(money / len(found))
            values[names[4], window, start, label] = float(units / money) if money else None
        return values


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
