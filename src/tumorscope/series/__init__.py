"""Answers a whole series from its slices."""
