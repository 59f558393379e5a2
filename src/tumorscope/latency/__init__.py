"""Measures how long a model takes."""
