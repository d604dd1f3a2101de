"""Continual learners that SupSup is compared with."""
