"""How far a job of the lake is, as it says it with `--progress`."""

import msgspec


class Step(msgspec.Struct, tag="step"):
    """A line of `python -m lake run --progress`."""

    job: str
    event: str
    what: str
    done: int
    of: int


def step(line: str) -> Step | None:
    """None where the line is no step."""
    try:
        return msgspec.json.decode(line, type=Step)
    except (msgspec.MsgspecError, UnicodeError):
        return None
