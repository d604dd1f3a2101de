"""Stores of masks, and what they have in common."""
