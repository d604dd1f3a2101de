"""Avalanche's learners as baselines, by its own code; needs the extra `rivals`."""
