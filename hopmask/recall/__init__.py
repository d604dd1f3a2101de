"""Recall: the landscape, the dynamics that descend on it, and the search over basins."""
