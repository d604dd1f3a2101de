"""Continual learning, task by task or without task boundaries."""
