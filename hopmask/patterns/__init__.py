"""Patterns: spins, the layout of a joint vector, keys and check bits."""
