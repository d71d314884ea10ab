"""The lake's jobs in one session of Spark: a job a line on standard input, a line of what it did on standard output."""

import sys

import msgspec
from lake.app import build
from lake.settings import LakeSettings

from dataforge.runtime.settings import load_settings

lake = build(load_settings(LakeSettings))
for line in sys.stdin:
    sys.stdout.write(msgspec.json.encode(lake.run(line.strip())).decode() + "\n")
    sys.stdout.flush()
