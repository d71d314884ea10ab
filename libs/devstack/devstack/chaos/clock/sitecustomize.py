"""Imported by Python itself at start, where this folder is on PYTHONPATH: a wall clock that can be stepped.

Off unless DATAFORGE_CHAOS_CLOCKS names a folder with a file for DATAFORGE_INSTANCE: 8 bytes of seconds to add, then 8
bytes in which shifted times are counted. Both are read and written in place, so a step takes effect at once.
"""

import ctypes
import datetime
import gc
import mmap
import os
import struct
import time
from typing import Any

_FORMAT = "=dQ"


def install(shared: mmap.mmap) -> None:
    """*Guarantees*: with an offset of 0 every function answers as before; monotonic clocks are never touched."""
    real_time, real_time_ns = time.time, time.time_ns
    real_local, real_utc = time.localtime, time.gmtime
    real_now, real_utcnow = datetime.datetime.now, datetime.datetime.utcnow

    def offset_s() -> float:
        seconds, told = struct.unpack_from(_FORMAT, shared)
        if seconds:
            struct.pack_into("=Q", shared, 8, told + 1)
        return seconds

    def delta() -> datetime.timedelta:
        return datetime.timedelta(seconds=offset_s())

    def now(cls: Any, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        shifted = real_now(datetime.UTC) + delta()
        return cls.fromtimestamp(shifted.timestamp(), tz)

    time.time = lambda: real_time() + offset_s()
    time.time_ns = lambda: real_time_ns() + round(offset_s() * 1e9)
    time.localtime = lambda seconds=None: real_local(time.time() if seconds is None else seconds)
    time.gmtime = lambda seconds=None: real_utc(time.time() if seconds is None else seconds)
    _replace(datetime.datetime, now=now, utcnow=lambda cls: real_utcnow() + delta())
    _replace(datetime.date, today=lambda cls: cls.fromtimestamp(time.time()))


def _replace(kind: type, **methods: Any) -> None:
    """Put class methods into a type of C, whose own dictionary Python shows read-only."""
    [own] = gc.get_referents(kind.__dict__)
    own.update({name: classmethod(method) for name, method in methods.items()})
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))


def _file() -> str:
    folder, instance = os.environ.get("DATAFORGE_CHAOS_CLOCKS"), os.environ.get("DATAFORGE_INSTANCE")
    return os.path.join(folder, instance) if folder and instance else ""


if os.path.exists(_file()):
    with open(_file(), "r+b") as _clock:
        install(mmap.mmap(_clock.fileno(), struct.calcsize(_FORMAT)))
