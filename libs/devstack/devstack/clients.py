"""What the clients of the stack's servers raise where one does not answer."""

from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka.errors import KafkaError
from botocore.exceptions import BotoCoreError, ClientError
from redis.exceptions import RedisError

from devstack.errors import StackError
from devstack.oracle.api import NoAnswer

NO_ANSWER = (KafkaError, RedisError, BotoCoreError, ClientError, NoAnswer, OSError, TimeoutError)


@contextmanager
def asking(what: str) -> Iterator[None]:
    """*Raises* `StackError` where what is asked does not answer, or no longer."""
    try:
        yield
    except NO_ANSWER as error:
        said = str(error) or type(error).__name__
        raise StackError(f"{what} does not answer: {said}; `dataforge status` says what does") from error
