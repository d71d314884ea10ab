"""Athena over the same tables in AWS: started, waited for, fetched; stopped where nobody waits any more."""

import asyncio
from collections.abc import Mapping
from typing import Any

import aioboto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from dataforge.sql.bind import arguments, placed, places_of

from query_api.query.answer import Column, Rows, plain
from query_api.query.athena_sql import Sent, parameters_of, rendered, value_of
from query_api.query.catalog import Located
from query_api.query.engine import Question
from query_api.query.problems import QueryProblem

_SOON_S, _LATER_S = 0.1, 1.0
_ANSWER_S = 10.0
_PAGE = 1_000
_BUSY = frozenset({"TooManyRequestsException", "ThrottlingException"})


class Athena:
    name = "athena"

    def __init__(
        self, region: str, *, workgroup: str, output: str | None, endpoint: str | None, most: int, time_limit_s: float
    ) -> None:
        """`most` queries are under way at once; more are refused."""
        self._session = aioboto3.Session(region_name=region)
        config = Config(connect_timeout=_ANSWER_S, read_timeout=_ANSWER_S, retries={"total_max_attempts": 2})
        self._options: dict[str, Any] = {"endpoint_url": endpoint, "config": config}
        self._start: dict[str, Any] = {"WorkGroup": workgroup}
        if output is not None:
            self._start["ResultConfiguration"] = {"OutputLocation": output}
        self._most, self._time_limit_s, self._running = most, time_limit_s, 0

    async def run(self, question: Question, located: Mapping[str, Located]) -> Rows:
        if self._running >= self._most:
            raise QueryProblem("busy", f"{self._running} queries run already", "try again in a moment")
        tree = placed(question.statement, question.shape)
        sent = rendered(tree, {name: place.table for name, place in located.items()})
        values = parameters_of(sent.places, arguments(question.values, places_of(tree)))
        self._running += 1
        client: Any = self._session.client("athena", **self._options)
        try:
            async with client as athena, asyncio.timeout(self._time_limit_s):
                return await self._answer(athena, sent, values, question.max_rows)
        except TimeoutError:
            limit = f"{self._time_limit_s:g} s"
            raise QueryProblem("too_slow", f"the query took longer than {limit}", "ask for less: fewer days") from None
        except ClientError as error:
            busy = error.response.get("Error", {}).get("Code") in _BUSY
            raise QueryProblem("busy" if busy else "unavailable", f"Athena refused: {error}", "try again") from error
        except (BotoCoreError, OSError) as error:
            raise QueryProblem("unavailable", f"Athena does not answer: {error}", "try again") from error
        finally:
            self._running -= 1

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _answer(self, athena: Any, sent: Sent, values: list[str], most: int) -> Rows:
        more = {"ExecutionParameters": values} if values else {}
        starting = asyncio.create_task(athena.start_query_execution(QueryString=sent.text, **self._start, **more))
        try:
            # Shielded: one that is given up while it starts has an id too, and would run on unseen.
            id_ = (await asyncio.shield(starting))["QueryExecutionId"]
            await self._ended(athena, id_)
        except QueryProblem:
            raise
        except BaseException:
            await asyncio.shield(self._stop(athena, starting))
            raise
        return await self._fetched(athena, id_, sent, most)

    async def _stop(self, athena: Any, starting: asyncio.Task[Any]) -> None:
        """*Raises* what the start did, where it failed."""
        await athena.stop_query_execution(QueryExecutionId=(await starting)["QueryExecutionId"])

    async def _ended(self, athena: Any, id_: str) -> None:
        """*Raises* `QueryProblem` where it failed."""
        pause_s = _SOON_S
        while True:
            answer = await athena.get_query_execution(QueryExecutionId=id_)
            status = answer["QueryExecution"]["Status"]
            match status["State"]:
                case "SUCCEEDED":
                    return
                case "FAILED" | "CANCELLED":
                    raise QueryProblem("bad_query", status.get("StateChangeReason") or "Athena ended the query")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LATER_S)

    async def _fetched(self, athena: Any, id_: str, sent: Sent, most: int) -> Rows:
        columns, rows, token = list[Column](), list[list[Any]](), dict[str, str]()
        while True:
            page = await athena.get_query_results(QueryExecutionId=id_, MaxResults=_PAGE, **token)
            lines = page["ResultSet"]["Rows"]
            if not token:
                told = page["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]
                columns = [_column(info, sent.arrays) for info in told]
                lines = lines[1:]  # the names
            for line in lines:
                texts = [cell.get("VarCharValue") for cell in line["Data"]]
                rows.append([value_of(c.type, text) for c, text in zip(columns, texts, strict=True)])
            if len(rows) > most or not (following := page.get("NextToken")):
                return Rows(columns, plain(columns, rows[:most]), len(rows) > most)
            token = {"NextToken": following}


def _column(info: Mapping[str, Any], arrays: Mapping[str, str]) -> Column:
    name, kind = info["Name"], info["Type"]
    if name in arrays:
        return Column(name, arrays[name])
    return Column(name, f"decimal({info['Precision']},{info['Scale']})" if kind == "decimal" else kind)
