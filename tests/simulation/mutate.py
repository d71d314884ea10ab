"""Imports the platform with a guard taken away: source replaced on import, the tree untouched.

`python -m simulation.mutate NAME` runs one mutant in a process of its own and says, as JSON, what gave it away.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import json
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


def main(name: str) -> int:
    from simulation.mutants import MUTANTS

    mutant = MUTANTS[name]
    mutator = Mutator(mutant.edits)
    sys.meta_path.insert(0, mutator)
    from simulation.run import hunt

    caught = hunt(mutant.scenario, mutant.seeds)
    if unmet := {edit.module for edit in mutant.edits} - mutator.met:
        raise Stale(f"{', '.join(sorted(unmet))} was not imported")
    violations = caught.violations if caught else []
    json.dump({"seed": caught.seed if caught else None, "violations": violations}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
