"""The TCP proxies between the services and their servers, and the handle to steer one."""


class Proxy:
    """One proxied server."""
