"""What is shortest from a log to a screen: aiokafka, a sum in a dict, Redis' PUBLISH, and picows to whoever listens.

Run as `python relay.py BOOTSTRAP TOPIC PARTITIONS REDIS_URL PORT`. To its clients it says what ws-gateway does when
they show a token and ask for a metric, without a look at either.
"""

import asyncio
import gc
import signal
import sys
from collections import defaultdict

import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server
from redis.asyncio import Redis

WINDOW_MS = 10_000
CHANNEL = "relay"


class Sale(msgspec.Struct):
    at: int
    category: str
    amount: int


class Client(WSListener):
    def __init__(self, everyone: set[WSTransport]) -> None:
        self.everyone = everyone

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.everyone.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.CLOSE:
            transport.disconnect()
        elif b'"auth"' in frame.get_payload_as_bytes():
            transport.send(WSMsgType.TEXT, b'{"type":"ready"}')
        else:
            transport.send(WSMsgType.TEXT, b'{"type":"subscribed"}')
            transport.send(WSMsgType.TEXT, b'{"type":"snapshot","next":{}}')
            self.everyone.add(transport)


async def publish(bootstrap: str, topic: str, partitions: int, redis: Redis) -> None:
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=50
    ) as consumer:
        consumer.assign([TopicPartition(topic, partition) for partition in range(partitions)])
        decode, encode = msgspec.json.Decoder(Sale).decode, msgspec.json.encode
        sums: defaultdict[tuple[int, str], int] = defaultdict(int)
        following: dict[str, int] = {}
        while True:
            changed: set[tuple[int, str]] = set()
            for tp, records in (await consumer.getmany(timeout_ms=1000)).items():
                for record in records:
                    sale = decode(record.value or b"")
                    cell = sale.at - sale.at % WINDOW_MS, sale.category
                    sums[cell] += sale.amount
                    changed.add(cell)
                following[str(tp.partition)] = records[-1].offset + 1
            if changed:
                rows = [
                    {"start": start, "category": category, "value": sums[start, category]}
                    for start, category in changed
                ]
                await redis.publish(CHANNEL, encode({"type": "delta", "next": following, "rows": rows}))


async def push(redis: Redis, everyone: set[WSTransport]) -> None:
    async with redis.pubsub() as subscribed:
        await subscribed.subscribe(CHANNEL)
        async for message in subscribed.listen():
            if message["type"] == "message":
                for transport in everyone:
                    transport.send(WSMsgType.TEXT, message["data"])


async def main(bootstrap: str, topic: str, partitions: int, redis_url: str, port: int) -> None:
    everyone, stop = set[WSTransport](), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    def client(_: WSUpgradeRequest) -> Client:
        return Client(everyone)

    redis = Redis.from_url(redis_url)
    tasks = [
        asyncio.create_task(push(redis, everyone)),
        asyncio.create_task(publish(bootstrap, topic, partitions, redis)),
    ]
    await ws_create_server(client, "127.0.0.1", port)
    ended, _ = await asyncio.wait([*tasks, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
    for task in ended:
        task.result()


if __name__ == "__main__":
    gc.set_threshold(50_000, 50, 100)  # as our services do
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5])))
