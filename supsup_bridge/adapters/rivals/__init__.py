"""Avalanche's learners as baselines, by its own code: the extra `rivals`."""
