"""How far a job is: a line of JSON on standard error, for whoever called it to show."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

Tell = Callable[[str, int, int], None]
"""(what is being done, so many are done, of so many)."""


class Step(msgspec.Struct, tag="step"):
    """One such line."""

    job: str
    event: str
    what: str
    """Empty where the job begins."""
    done: int
    of: int


@dataclass(slots=True)
class Progress:
    """*Guarantees*: silent unless somebody asked for it."""

    asked: bool = False
    job: str = ""
    event: str = ""

    def begin(self, job: str, event: str) -> None:
        self.job, self.event = job, event
        self.tell("", 0, 0)

    def tell(self, what: str, done: int, of: int) -> None:
        if self.asked:
            step = Step(self.job, self.event, what, done, of)
            sys.stderr.write(msgspec.json.encode(step).decode() + "\n")
            sys.stderr.flush()
