"""Data sets, tasks and benchmarks."""
