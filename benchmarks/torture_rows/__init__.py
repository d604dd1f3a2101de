"""The rows of `benchmarks/torture.py`."""
