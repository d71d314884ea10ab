"""Records as aiokafka's fetcher holds them, without its objects and its loop: most of what taking a record costs."""

from collections.abc import Container, Iterator
from functools import partial
from itertools import chain, dropwhile, islice
from typing import Any

from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult
from aiokafka.errors import CorruptRecordException
from aiokafka.structs import TopicPartition


def take(fetcher: Any, partitions: Container[TopicPartition], limit: int) -> dict[TopicPartition, list[Any]]:
    """At most `limit` records that were fetched of these partitions; the consumer's positions move behind them.

    Each is a `Record`, and not aiokafka's `ConsumerRecord`. *Raises* `KafkaError` where a fetch has failed.
    *Source*: aiokafka 0.14.0, `Fetcher.fetched_records`, `FetchResult.getall` and `PartitionRecords`.
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
    if not isinstance(unpacked._records_iterator, chain):
        unpacked._records_iterator = chain.from_iterable(_runs(unpacked))
    records = list(islice(unpacked._records_iterator, limit))
    if records:
        unpacked.next_fetch_offset = max(unpacked.next_fetch_offset, records[-1].offset + 1)
    result._update_position()
    if len(records) < limit:
        result._partition_records = None
    return records


def _runs(unpacked: Any) -> Iterator[Iterator[Any]]:
    """The records of each of Kafka's batches, from the position on. No line of Python is run for each of them."""
    batches = unpacked._records
    while batches.has_next():
        batch = batches.next_batch()
        if unpacked._check_crcs and not batch.validate_crc():
            raise CorruptRecordException(f"a batch of {unpacked._tp} is damaged: its checksum is another")
        if _is_data(unpacked, batch):
            yield dropwhile(partial(_before, unpacked.next_fetch_offset), batch)
        # Its last records may have been compacted away: the next fetch begins behind them all the same.
        unpacked.next_fetch_offset = batch.next_offset


def _before(offset: int, record: Any) -> bool:
    return record.offset < offset


def _is_data(unpacked: Any, batch: Any) -> bool:
    """Whether a batch is no marker, and of no transaction that was aborted as far as its reader wants to know."""
    if unpacked._isolation_level == READ_COMMITTED and batch.producer_id is not None:
        unpacked._consume_aborted_up_to(batch.base_offset)
        aborted = unpacked._aborted_producers
        if batch.is_control_batch and unpacked._contains_abort_marker(batch):
            aborted.discard(batch.producer_id)
        if batch.is_transactional and batch.producer_id in aborted:
            return False
    return not batch.is_control_batch
