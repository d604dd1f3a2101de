"""Adapters to other libraries; each is imported by itself, and needs that library."""
