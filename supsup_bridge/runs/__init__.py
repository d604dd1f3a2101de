"""Runs: settings, experiment, evaluation, checkpoints and results."""
