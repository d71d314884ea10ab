"""Pipelines of the lake, run here: step after step, each in a process group of its own."""
