"""`python -m devstack.lake`: where the interpreter is that has the lake's packages; made where it is missing.

Exit code 3 where the machine has no Python that they can be made for.
"""

import sys

from devstack.environments import NoPython
from devstack.lake.jobs import python

if __name__ == "__main__":
    try:
        sys.stdout.write(f"{python()}\n")
    except NoPython as error:
        sys.stderr.write(f"the lake is left out: {error}\n")
        sys.exit(3)
