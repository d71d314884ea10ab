"""Errors, named by what the runtime does with them (DESIGN R8).

Anything that is none of these is treated as `Fatal`: a process that does not understand an error
must not go on as if it did.
"""


class DataForgeError(Exception):
    """Base of every error this project raises on purpose; its text tells the user what to do next."""


class Rejected(DataForgeError):
    """The outcome of one record: quarantined or undecodable. The worker goes on with the next."""

    def __init__(self, reason: str, detail: str = "", *, parses: bool = True) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
        self.parses = parses
        """False where the bytes are not even a document: the verdict is then `undecodable`."""


class Transient(DataForgeError):
    """Nothing was sent (or a PUT may be retried under the same key): back off, commit nothing, retry."""

    def __init__(self, message: str, retry_after_s: float = 0.5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Held(Transient):
    """Waiting on purpose until somebody lifts it: retried every `retry_after_s`, no sooner, no later, and no error."""


class Fatal(DataForgeError):
    """Stop the process with nothing committed; the supervisor restarts it."""


class Superseded(Fatal):
    """Another worker owns this partition now (its claim, or a newer position, is in the store)."""
