"""`python -m devstack.warehouse`: where the interpreter is that has dbt; made where it is missing."""

import sys

from devstack.warehouse.dbt import python

if __name__ == "__main__":
    sys.stdout.write(f"{python()}\n")
