"""docs/specs/guarantees.md names a test for each promise: it must exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "specs" / "guarantees.md").read_text()
_PROOF = re.compile(r"`([\w/.-]+\.py)::(\w+)`")


def test_every_promise_names_a_test_that_exists() -> None:
    missing = [f"{file}::{name}" for file, name in _PROOF.findall(TEXT) if name not in _tests(ROOT / file)]
    assert not missing


def test_no_promise_is_without_proof() -> None:
    promises = [line for line in TEXT.partition("## Assumed")[0].splitlines() if line.startswith("| ")]
    bare = [line for line in promises if not _PROOF.search(line) and not line.startswith("| promise |")]
    assert promises
    assert not bare


def _tests(file: Path) -> set[str]:
    if not file.is_file():
        return set()
    return {
        node.name
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
