"""Imports the platform with a guard taken away: source replaced on import, the tree untouched.

`python -m simulation.mutate [NAME …]` runs mutants, each in a process of its own, and says as JSON what gave them away.
away.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import json
import multiprocessing
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NamedTuple


class Edit(NamedTuple):
    module: str
    before: str
    after: str


class Stale(Exception):
    """What the mutant replaces is not in the source any more: the guard has moved, and the mutant must follow."""


def apply(source: str, edits: Sequence[Edit]) -> str:
    """*Raises* `Stale` unless each is there exactly once."""
    for edit in edits:
        if source.count(edit.before) != 1:
            raise Stale(f"{edit.module} has {source.count(edit.before)} times: {edit.before}")
        source = source.replace(edit.before, edit.after)
    return source


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, edits: Sequence[Edit]) -> None:
        super().__init__(name, path)
        self._edits = edits

    def get_code(self, fullname: str) -> Any:
        """Compiled anew: what is cached is the unmutated."""
        path = self.get_filename(fullname)
        text = apply(self.get_data(path).decode(), self._edits)
        return compile(text, path, "exec", dont_inherit=True)


class Mutator(importlib.abc.MetaPathFinder):
    """Put it before the finders there are, and before anything of the platform is imported."""

    def __init__(self, edits: Sequence[Edit]) -> None:
        self._edits = edits
        self.met: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        edits = [edit for edit in self._edits if edit.module == fullname]
        if not edits:
            return None
        found = importlib.machinery.PathFinder.find_spec(fullname, path)
        if found is None or found.origin is None:
            raise Stale(f"there is no module {fullname}")
        self.met.add(fullname)
        return importlib.util.spec_from_loader(fullname, _Loader(fullname, found.origin, edits))


HEAVY = (
    "aioboto3",
    "aiokafka",
    "datasketches",
    "faust.transport.drivers.aiokafka",
    "jsonschema_rs",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk.trace.export",
    "pyarrow.parquet",
    "pydantic_settings",
    "redis.asyncio",
    "uvloop",
)
"""What takes long to import and is not the platform's: imported once, before each mutant gets a process of its own."""


def run_one(name: str) -> dict[str, Any]:
    """Import the platform without this guard, and look for a seed that shows it."""
    from simulation.mutants import MUTANTS

    mutant = MUTANTS[name]
    mutator = Mutator(mutant.edits)
    sys.meta_path.insert(0, mutator)
    try:
        from simulation.run import hunt

        caught = hunt(mutant.scenario, mutant.seeds, mutant.shows)
        if unmet := {edit.module for edit in mutant.edits} - mutator.met:
            raise Stale(f"{', '.join(sorted(unmet))} was not imported")
    except Exception as error:  # noqa: BLE001 - whoever asked for it says it
        return {"error": repr(error)}
    return {"seed": caught.seed, "violations": caught.violations} if caught else {"violations": []}


def main(names: Sequence[str]) -> int:
    from simulation.mutants import MUTANTS

    names = names or list(MUTANTS)
    for module in HEAVY:
        importlib.import_module(module)
    with multiprocessing.get_context("fork").Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        found = dict(zip(names, pool.imap(run_one, names, chunksize=1), strict=True))
    json.dump(found, sys.stdout, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
