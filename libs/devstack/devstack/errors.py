"""Errors of the `dataforge` command. Their text tells the user what to do next."""

from dataforge.errors import DataForgeError


class StackError(DataForgeError):
    """The stack did not do what was asked: exit code 1."""


class UsageError(DataForgeError):
    """The caller asked for something that cannot be: exit code 2."""
