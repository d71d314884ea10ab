"""Records as aiokafka's fetcher holds them, without its objects: half of what taking a record costs is made of them."""

from collections.abc import Container
from itertools import islice
from typing import Any

from aiokafka.consumer.fetcher import FetchResult
from aiokafka.structs import TopicPartition


def take(fetcher: Any, partitions: Container[TopicPartition], limit: int) -> dict[TopicPartition, list[Any]]:
    """At most `limit` records that were fetched of these partitions; the consumer's positions move behind them.

    Each is a `Record`, and not aiokafka's `ConsumerRecord`. *Raises* `KafkaError` where a fetch has failed.
    *Source*: aiokafka 0.14.0, `Fetcher.fetched_records` and `FetchResult.getall`.
    """
    taken: dict[TopicPartition, list[Any]] = {}
    held = fetcher._records
    for tp in list(held):
        if tp not in partitions:
            if not fetcher._subscriptions.is_assigned(tp):
                del held[tp]
            continue
        result = held[tp]
        if not isinstance(result, FetchResult):
            if taken:  # first what came before the error
                break
            del held[tp]
            fetcher._notify(fetcher._wait_consume_future)
            result.check_raise()
        records = _records(result, tp, limit)
        if not result.has_more():
            del held[tp]
            fetcher._notify(fetcher._wait_consume_future)
        if records:
            taken[tp] = records
            limit -= len(records)
        if not limit:
            break
    return taken


def _records(result: Any, tp: TopicPartition, limit: int) -> list[Any]:
    if not result.has_more() or not result.check_assignment(tp):
        return []
    unpacked = result._partition_records
    unpacked._consumer_record = _as_it_is
    records = list(islice(unpacked._records_iterator, limit))
    result._update_position()
    if len(records) < limit:
        result._partition_records = None
    return records


def _as_it_is(_: TopicPartition, record: Any) -> Any:
    return record
