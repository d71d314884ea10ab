"""`python -m devstack` is `dataforge`."""

from devstack.cli import app

app()
