"""A domain nobody would write: odd names drawn from a seed, and contracts that use all the grammar has.

`flat` is closed and checked by msgspec alone, so the quick look applies; `deep` nests, and uses keywords that only a
schema validator knows.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dataforge.contracts.load import load_domain
from dataforge.contracts.model import Domain

ODD = [
    "a b",
    "ключ",
    "class",
    "f0",
    "x" * 80,
    "名前",
    "$ref",
    "1",
    "~0/1",
    "e",
    "now",
    "t",
    "UNSET",
    "é",
    "__other__",
    "{}",
]
Make = Callable[[random.Random, int, int], dict[str, Any]]
"""(random, running number, now in ms) -> an event that keeps the contract."""


class StrangeDomain:
    def __init__(self, seed: int) -> None:
        r = random.Random(seed)
        self.flat = r.sample(ODD, 10)
        self.deep = r.sample(ODD, 8)
        self.scale = r.randint(1, 4)

    def load(self, folder: Path) -> Domain:
        home = folder / "strange"
        home.mkdir(parents=True)
        for name, text in {
            "flat.v1.json": self._flat(),
            "deep.v1.json": self._deep(),
            "quality.yaml": self._quality(),
            "metrics.yaml": self._metrics(),
        }.items():
            (home / name).write_text(json.dumps(text))  # JSON is YAML too
        return load_domain(home)

    def make_flat(self, r: random.Random, n: int, now_ms: int) -> dict[str, Any]:
        event_id, at, key, label, code, money, count, half, flag, maybe = self.flat
        event: dict[str, Any] = {
            event_id: n,
            at: now_ms - r.randint(0, 5_000),
            key: r.choice(["k1", "k2", 'quo"te', "back\\slash"]),
            label: r.choice(["red", "grün", "青", None]),
            code: f"{r.choice('ABC')}-{r.randint(0, 999):03}",
            money: r.randint(-(10**6), 10**6) / 10**self.scale,
            count: r.randint(0, 49) * 2,
            half: r.random() * 10,
            flag: r.random() < 0.5,
        }
        if r.random() < 0.5:
            event[maybe] = r.choice([None, "", "some text", '":{'])
        return event

    def make_deep(self, r: random.Random, n: int, now_ms: int) -> dict[str, Any]:
        event_id, at, body, items, kind, extra, score, other = self.deep
        seconds, ms = divmod(now_ms - r.randint(0, 5_000), 1_000)
        event: dict[str, Any] = {
            event_id: f"{n}-{seconds}",
            at: seconds,
            body: {"name": r.choice(["x", "ü", ""]), "at": {"lat": r.random(), "lon": -r.random()}},
            items: [{"sku": f"s{r.randint(0, 9)}", "n": r.randint(1, 9)} for _ in range(r.randint(1, 4))],
            kind: r.choice(["plain", "special"]),
            score: r.choice([0.25, 1, 1.5, 2.0]),
        }
        if event[kind] == "special":
            event[extra] = r.choice([["a"], ["a", "b"]])
        if r.random() < 0.3:
            event[other] = ms
        return event

    def _flat(self) -> dict[str, Any]:
        event_id, at, key, label, code, money, count, half, flag, maybe = self.flat
        return {
            "type": "object",
            "x-dataforge": {"id": event_id, "event_time": at, "key": key},
            "additionalProperties": False,
            "properties": {
                event_id: {"type": "integer"},
                at: {"type": "integer", "x-time": "epoch_ms"},
                key: {"type": "string", "maxLength": 20},
                label: {"type": ["string", "null"], "enum": ["red", "grün", "青", None]},
                code: {"type": "string", "pattern": "^[A-C]-[0-9]{3}$"},
                money: {"type": "number", "x-scale": self.scale},
                count: {"type": "integer", "minimum": 0, "exclusiveMaximum": 1_000, "multipleOf": 2},
                half: {"type": "number", "minimum": 0, "exclusiveMaximum": 10},
                flag: {"type": "boolean"},
                maybe: {"type": ["string", "null"], "minLength": 0},
            },
            "required": [event_id, at, key, label, code, money, count, half, flag],
        }

    def _deep(self) -> dict[str, Any]:
        event_id, at, body, items, kind, extra, score, other = self.deep
        point = {"type": "number", "minimum": -90, "maximum": 90}
        return {
            "type": "object",
            "x-dataforge": {"id": event_id, "event_time": at, "max_age": "30d", "max_ahead": "1h"},
            "properties": {
                event_id: {"type": "string", "minLength": 1},
                at: {"type": "integer", "x-time": "epoch_s"},
                body: {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "at": {"properties": {"lat": point, "lon": point}, "required": ["lat", "lon"]},
                    },
                    "required": ["name", "at"],
                    "additionalProperties": False,
                },
                items: {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 5,
                    "items": {"type": "object", "required": ["sku"], "properties": {"n": {"type": "integer"}}},
                },
                kind: {"type": "string", "enum": ["plain", "special"]},
                extra: {"type": "array", "uniqueItems": True},
                score: {"type": "number", "multipleOf": 0.25},
                other: {"type": "integer"},
            },
            "required": [event_id, at, body, items, kind, score],
            "if": {"properties": {kind: {"const": "special"}}},
            "then": {"required": [extra]},
        }

    def _quality(self) -> dict[str, Any]:
        def rule(name: str, event: str, field: str, action: str, check: dict[str, Any]) -> dict[str, Any]:
            return {"name": name, "event": event, "field": field, "check": check, "action": action, "why": "a drill"}

        return {
            "rules": [
                rule("few", "flat", self.flat[6], "quarantine", {"exclusive_minimum": 1}),
                rule("known_key", "flat", self.flat[2], "warn", {"in": ["k1", "k2"]}),
                rule("no_ants", "flat", self.flat[9], "quarantine", {"matches": "^[^{]*$"}),
                rule("no_two", "deep", self.deep[6], "quarantine", {"not_in": [2.0]}),
            ]
        }

    def _metrics(self) -> dict[str, Any]:
        label, money, half, key = self.flat[3], self.flat[5], self.flat[7], self.flat[2]
        windows = {"windows": ["10s", "1m"], "by": [[], ["label"]]}
        return {
            "lateness": "20s",
            "dimensions": {
                "label": {"field": label},
                "kind": {"field": self.deep[4]},
            },
            "metrics": {
                "flat_all": {"event": "flat", "measure": "count", **windows},
                "flat_money": {"event": "flat", "measure": {"sum": money}, **windows},
                "flat_mean": {"event": "flat", "measure": {"avg": money}, **windows},
                "flat_top": {"event": "flat", "measure": {"top_k": {"field": key, "k": 3}}, "windows": ["1m"]},
                "flat_half": {
                    "event": "flat",
                    "measure": {"quantiles": {"field": half, "at": [0.5]}},
                    "windows": ["1m"],
                },
                "deep_all": {"event": "deep", "measure": "count", "by": [[], ["kind"]], "windows": ["10s"]},
            },
        }
