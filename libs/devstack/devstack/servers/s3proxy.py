"""S3Proxy 4.1 over a folder (`filesystem-nio2`), on loopback: the object store.

It has no versioning, no encryption and no lifecycle (501). A key `d/x` beside `d/x/y` is refused.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError, ClientError

from devstack.paths import StackPaths
from devstack.program import NotReady, Program, accepts_tcp
from devstack.secret import Secrets
from devstack.servers.java import java_command

NAME = "s3proxy"
PORTS = {"s3": 19000}
BUCKET = "dataforge"
REGION = "us-east-1"
PUT_MAX_BYTES = 512 * 1024 * 1024
_LOGBACK = """<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{"yyyy-MM-dd'T'HH:mm:ss.SSSXXX"} %-5level %logger{30} %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="OUT"/></root>
</configuration>
"""


def s3proxy(
    paths: StackPaths, ports: Mapping[str, int], class_path: str, secrets: Secrets, env: Mapping[str, str]
) -> Program:
    folder = paths.of(NAME)
    options = (f"-Dlogback.configurationFile={folder / 'logback.xml'}",)
    java = java_command(class_path, "org.gaul.s3proxy.Main", heap_mib=256, options=options)
    return Program(
        name=NAME,
        command=(*java, "--properties", str(folder / "s3proxy.conf")),
        env=env,
        folder=folder,
        log=paths.log(NAME),
        ready=partial(ready, ports["s3"], secrets),
        ports={name: ports[name] for name in PORTS},
        prepare=partial(_prepare, folder, ports["s3"], secrets),
    )


_UNFINISHED = re.compile(r"-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")


def _remove_unfinished(objects: Path) -> None:
    """s3proxy writes `<key>-<uuid>`, then links it to the key; what a killed one left would be listed for ever."""
    for file in objects.rglob("*-*"):
        if _UNFINISHED.search(file.name) and file.is_file():
            file.unlink()


def _prepare(folder: Path, port: int, secrets: Secrets) -> None:
    objects = folder / "objects"
    objects.mkdir(parents=True, exist_ok=True)
    _remove_unfinished(objects)
    (folder / "logback.xml").write_text(_LOGBACK)
    config = folder / "s3proxy.conf"
    config.touch(mode=0o600)
    config.write_text(
        f"s3proxy.endpoint=http://127.0.0.1:{port}\n"
        "s3proxy.authorization=aws-v2-or-v4\n"
        f"s3proxy.identity={secrets.s3_access_key}\n"
        f"s3proxy.credential={secrets.s3_secret_key}\n"
        f"s3proxy.v4-max-non-chunked-request-size={PUT_MAX_BYTES}\n"
        "jclouds.provider=filesystem-nio2\n"
        f"jclouds.identity={secrets.s3_access_key}\n"
        f"jclouds.credential={secrets.s3_secret_key}\n"
        f"jclouds.filesystem.basedir={objects}\n"
    )


async def ready(port: int, secrets: Secrets) -> None:
    """A signed HEAD of the bucket; where there is no bucket yet it is created."""
    await accepts_tcp(port)
    config = AioConfig(retries={"max_attempts": 0}, connect_timeout=2, read_timeout=4, s3={"addressing_style": "path"})
    connect: Any = AioSession().create_client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name=REGION,
        aws_access_key_id=secrets.s3_access_key,
        aws_secret_access_key=secrets.s3_secret_key,
        config=config,
    )
    try:
        async with connect as client:
            try:
                await client.head_bucket(Bucket=BUCKET)
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                    raise
                await client.create_bucket(Bucket=BUCKET)
    except (ClientError, BotoCoreError, OSError) as error:
        raise NotReady(f"port {port}: {error}") from error
