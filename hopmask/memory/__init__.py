"""The memory: named masks of many tasks, or bare spin vectors, and their files."""
