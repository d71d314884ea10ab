"""The lake beside a stack: its environment, made once, and its jobs run there."""
