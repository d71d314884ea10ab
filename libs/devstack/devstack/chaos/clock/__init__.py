"""A folder for PYTHONPATH: it holds nothing but the hook that Python imports at start."""
