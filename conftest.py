"""Every test may ask for a real Kafka, Redis or S3: see `devstack.testing.plugin`."""

import signal

from hypothesis import HealthCheck, settings

pytest_plugins = ["devstack.testing.plugin"]


# A busy machine is no finding.
settings.register_profile("dataforge", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("dataforge")


def pytest_configure() -> None:
    """A run in the background of a shell ignores SIGINT, and so would every program that a test ends by Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
