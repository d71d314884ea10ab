"""The demo: replay, wait, compare, measure, report."""
