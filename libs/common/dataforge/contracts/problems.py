"""What is wrong with a domain folder, by file and line."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dataforge.errors import DataForgeError


class Problem(NamedTuple):
    file: Path
    line: int
    """1-based; 0 where no line can be named."""
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


class DomainError(DataForgeError):
    """A domain folder that cannot be used. Lists everything that is wrong, not only the first thing."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems, key=lambda p: (str(p.file), p.line))
        super().__init__("\n".join(map(str, self.problems)))


class Problems:
    """Collects problems while a folder is read, so that a user sees all of them at once."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, file: Path, line: int, message: str) -> None:
        self.found.append(Problem(file, line, message))

    def raise_any(self) -> None:
        """*Raises* `DomainError` where anything was found."""
        if self.found:
            raise DomainError(self.found)


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` or the list of what there is."""
    options = sorted(known)
    close = difflib.get_close_matches(name, options, 1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are: {', '.join(options)}" if options else ""
