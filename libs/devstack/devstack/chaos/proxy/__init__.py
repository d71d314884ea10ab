"""TCP proxies between services and servers that can be told to misbehave; a process of their own."""
