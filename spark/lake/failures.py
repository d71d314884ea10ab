"""What Spark and what it calls raise, in the platform's words (DESIGN R8)."""

from collections.abc import Iterator
from contextlib import contextmanager

from dataforge.errors import DataForgeError, Fatal, Transient

_REFUSED = ("org.apache.iceberg.exceptions.ValidationException", "org.apache.iceberg.exceptions.CommitFailedException")
# Of the platform's own code, in a Python worker:
_DAMAGED = ("dataforge.errors.Fatal",)
_AWAY = (
    "dataforge.errors.Transient",
    "org.apache.kafka.common.errors.TimeoutException",
    "software.amazon.awssdk.core.exception.SdkClientException",
    "software.amazon.awssdk.core.exception.RetryableException",
)


class Refused(Transient):
    """Another writer has moved the table since its position was read: nothing was committed. Look again."""


@contextmanager
def named() -> Iterator[None]:
    """*Raises* `Refused`, `Fatal` and `Transient` for what is known to be these; all else stays what it was.

    The first and the last may be tried again from the table's head, whatever became of a commit: it says how far it is.
    """
    try:
        yield
    except DataForgeError:
        raise
    except Exception as error:
        said = whole_story(error)
        for kind, known in ((Refused, _REFUSED), (Fatal, _DAMAGED), (Transient, _AWAY)):
            if any(name in said for name in known):
                raise kind(_line(said, known)) from error
        raise


def whole_story(error: Exception) -> str:
    """All that is known of an error of Spark's: of some the text has Java's trace too, others keep it beside."""
    return f"{error}\n{getattr(error, 'stackTrace', '')}"


def _line(said: str, known: tuple[str, ...]) -> str:
    return next(line.strip() for line in said.splitlines() if any(name in line for name in known))
