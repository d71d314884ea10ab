"""Why a query is refused."""

from dataforge.errors import DataForgeError


class SqlProblem(DataForgeError):
    """`line` is 1-based in the query's text; 0 where none can be named."""

    def __init__(self, message: str, hint: str = "", line: int = 0) -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint
        self.line = line
