"""`python -m devstack.lake`: where the interpreter is that has the lake's packages; made where it is missing."""

import sys

from devstack.lake.jobs import python

if __name__ == "__main__":
    sys.stdout.write(f"{python()}\n")
