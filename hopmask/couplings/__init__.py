"""Couplings: how patterns are written into them, and how they answer."""
