"""Why a query was not answered."""

from dataforge.errors import DataForgeError


class QueryProblem(DataForgeError):
    """`code` is part of the API: `no_lake`, `bad_query`, `too_large`, `too_slow`, `busy`, `unavailable`."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.code = code
        self.message = message
        self.hint = hint
