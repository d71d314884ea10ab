"""`python -m devstack` is `dataforge`."""

from devstack.cli import app

if __name__ == "__main__":
    app()
