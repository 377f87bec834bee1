"""Slow, obvious twins of what is tested."""
