"""Every test may ask for a real Kafka, Redis or S3: see `devstack.testing.plugin`."""

pytest_plugins = ["devstack.testing.plugin"]
