"""Fixed random networks seen through masks."""
