"""Every test may ask for a real Kafka, Redis or S3: see `devstack.testing.plugin`."""

import signal

pytest_plugins = ["devstack.testing.plugin"]


def pytest_configure() -> None:
    """A run in the background of a shell ignores SIGINT, and so would every program that a test ends by Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
